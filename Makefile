# The front door. `make help` lists the targets.

PREFIX      ?= /usr
SYSCONFDIR  ?= /etc
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
MANDIR      ?= $(PREFIX)/share/man
BASHDIR     ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR      ?= $(PREFIX)/share/zsh/site-functions
FISHDIR     ?= $(PREFIX)/share/fish/vendor_completions.d
DESTDIR     ?=
CARGO       ?= cargo
INSTALL     ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
BINARY  := target/release/sshfs-docker

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: build
build: ## The release binary, target/release/sshfs-docker
	$(CARGO) build --release --locked

.PHONY: install
install: ## Install below DESTDIR what `make build` built
	$(INSTALL) -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/sshfs-docker
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(UNITDIR) systemd/sshfs-docker.socket \
		systemd/sshfs-docker.service systemd/sshfs-docker-heal@.service systemd/sshfs-docker-failed@.service \
		systemd/sshfs-docker-agent@.socket systemd/sshfs-docker-agent@.service \
		systemd/sshfs-docker-metrics.service systemd/sshfs-docker-metrics.timer
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(UNITDIR)/sshfs-docker-mount-.service.d \
		systemd/sshfs-docker-mount-.service.d/50-sandbox.conf
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/catalog systemd/sshfs-docker.catalog
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(SYSUSERSDIR) systemd/sysusers.d/sshfs-docker.conf
	# What an administrator has changed stays; below DESTDIR there is none, only what an earlier build has left.
	@for file in config.toml ssh_config; do \
		if [ -n "$(DESTDIR)" ] || [ ! -e "$(SYSCONFDIR)/sshfs-docker/$$file" ]; then \
			$(INSTALL) -v -D -m 0644 -t $(DESTDIR)$(SYSCONFDIR)/sshfs-docker etc/$$file || exit; \
		fi; \
	done
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/sshfs-docker etc/sshfs.spec
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man5 man/sshfs-docker.toml.5
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man7 man/docker-volume-sshfs.7
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man8 man/sshfs-docker.8
	$(INSTALL) -D -m 0644 completions/sshfs-docker.bash $(DESTDIR)$(BASHDIR)/sshfs-docker
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(ZSHDIR) completions/_sshfs-docker
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(FISHDIR) completions/sshfs-docker.fish
	$(INSTALL) -d $(DESTDIR)$(SYSCONFDIR)/docker/plugins
	# A link, not a configuration file: a package manager keeps those when it removes the package, and Docker would
	# then wait 15 s for the missing driver at every 'docker volume ls'.
	ln -sf $(PREFIX)/share/sshfs-docker/sshfs.spec $(DESTDIR)$(SYSCONFDIR)/docker/plugins/sshfs.spec

.PHONY: deb
deb: tools-deb build ## The Debian package, target/deb/sshfs-docker_VERSION_amd64.deb
	packaging/deb/build $(VERSION)

.PHONY: man
man: tools-rust ## Write what man/ and completions/ take from the source anew; a unit test tells when
	@SSHFS_DOCKER_UPDATE_MANUAL=1 $(CARGO) test --locked --quiet --test manual -- --test-threads=1

.PHONY: lint
lint: ## Formatting and clippy, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: test
test: ## All tiers in order, and their total (root; boots Debian hosts)
	@rm -rf target/test-log
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-arm64
	@$(MAKE) --no-print-directory test-fuzz
	@$(MAKE) --no-print-directory test-loopback
	@$(MAKE) --no-print-directory test-lab
	@tests/total target/test-log

.PHONY: test-unit
test-unit: tools-rust ## Unit and property tests, and the manual; needs nothing but cargo
	@tests/tier unit $(CARGO) test --locked --lib --test manual

# needs make packages
#
# Emulated, all cases of all properties take 109 s instead of 6, and none is about the machine: a few are enough here.
.PHONY: test-arm64
test-arm64: tools-arm64 ## The unit tests and the package for arm64, under qemu (root, /dev/fuse, Linux 6.7)
	@PROPTEST_CASES=64 CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64-static \
		tests/tier unit-arm64 $(CARGO) test --locked --lib --target aarch64-unknown-linux-musl
	@tests/tier arm64 $(CARGO) test --locked --test arm64

.PHONY: test-fuzz
test-fuzz: tools-rust ## Nearly right input for whatever reads some, two seconds each (the socket only as root)
	@tests/tier fuzz $(CARGO) test --locked --test fuzz

.PHONY: test-loopback
test-loopback: tools-test ## The real daemon against a real sshd on loopback (root, /dev/fuse)
	@tests/tier loopback $(CARGO) test --locked --test loopback

.PHONY: test-lab
test-lab: tools-lab deb ## The package on whole Debian hosts (root, /dev/fuse)
	@tests/tier lab $(CARGO) test --locked --test lab

.PHONY: fuzz
fuzz: tools-rust ## The fuzz tests for five minutes each (SSHFS_DOCKER_FUZZ_SECONDS=300), side by side
	@SSHFS_DOCKER_FUZZ_SECONDS=$${SSHFS_DOCKER_FUZZ_SECONDS:-300} $(CARGO) test --locked --test fuzz

.PHONY: soak
soak: tools-lab deb ## Two hundred callers for ten minutes on each release, then an audit
	@SSHFS_DOCKER_SOAK_SECONDS=600 $(CARGO) test --locked --test lab -- two_hundred_connections_on_fifty_volumes

.PHONY: demo
demo: tools-lab deb ## A user's first minute, on two Debian hosts booted for it
	@$(CARGO) test --locked --quiet --test demo

# What the targets need from apt; each does nothing where it is there already.
.PHONY: tools-rust tools-deb tools-test tools-arm64 tools-lab
tools-rust:
	@packaging/need cc:gcc cargo:cargo
tools-deb: tools-rust
	@packaging/need dpkg-buildpackage:dpkg-dev dh:debhelper fakeroot:fakeroot
tools-test: tools-rust
	@packaging/need sshfs:sshfs fusermount3:fuse3 ssh:openssh-client sshd:openssh-server openssl:openssl \
		unshare:util-linux ip:iproute2
tools-arm64: tools-test
	@packaging/target aarch64-unknown-linux-musl
	@packaging/need qemu-aarch64-static:qemu-user-static dpkg-deb:dpkg
tools-lab: tools-test
	@packaging/need systemd-nspawn:systemd-container debootstrap:debootstrap

.PHONY: clean
clean: ## Remove everything that was built, the lab's cache too
	$(CARGO) clean
