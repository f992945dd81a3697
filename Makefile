# The front door. `make help` lists the targets.

PREFIX      ?= /usr
SYSCONFDIR  ?= /etc
BINDIR      ?= $(PREFIX)/bin
DATADIR     ?= $(PREFIX)/share
UNITDIR     ?= $(PREFIX)/lib/systemd/system
PRESETDIR   ?= $(PREFIX)/lib/systemd/system-preset
CATALOGDIR  ?= $(PREFIX)/lib/systemd/catalog
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
MANDIR      ?= $(DATADIR)/man
DOCDIR      ?= $(DATADIR)/doc/sshfs-docker
BASHDIR     ?= $(DATADIR)/bash-completion/completions
ZSHDIR      ?= $(DATADIR)/zsh/site-functions
FISHDIR     ?= $(DATADIR)/fish/vendor_completions.d
DESTDIR     ?=
CARGO       ?= cargo
INSTALL     ?= install

BINARY  ?= target/release/sshfs-docker
# Every unit, and the drop-in that is the sandbox of all mounts; systemd/ has them as they are on a host.
UNITS   := $(wildcard systemd/*.socket systemd/*.service systemd/*.timer)
SANDBOX := sshfs-docker-mount-.service.d/50-sandbox.conf

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: build
build: ## The release binary, target/release/sshfs-docker
	$(CARGO) build --release --locked

.PHONY: install
install: ## Install below DESTDIR what `make build` built; PREFIX and more are at the top of the Makefile
	$(INSTALL) -D -m 0755 $(BINARY) $(DESTDIR)$(BINDIR)/sshfs-docker
	# Units name the program and its data.
	@$(INSTALL) -d $(DESTDIR)$(UNITDIR)
	@for unit in $(UNITS); do \
		sed -e 's|/usr/bin/sshfs-docker|$(BINDIR)/sshfs-docker|' -e 's|/usr/share/sshfs-docker|$(DATADIR)/sshfs-docker|' \
			$$unit >$(DESTDIR)$(UNITDIR)/$${unit##*/} && chmod 0644 $(DESTDIR)$(UNITDIR)/$${unit##*/} || exit; \
	done
	$(INSTALL) -D -m 0644 systemd/$(SANDBOX) $(DESTDIR)$(UNITDIR)/$(SANDBOX)
	# With Docker; there is nothing to enable.
	$(INSTALL) -d $(DESTDIR)$(UNITDIR)/docker.service.wants
	ln -sf ../sshfs-docker-announce.service $(DESTDIR)$(UNITDIR)/docker.service.wants
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(PRESETDIR) systemd/system-preset/90-sshfs-docker.preset
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(CATALOGDIR) systemd/sshfs-docker.catalog
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(SYSUSERSDIR) systemd/sysusers.d/sshfs-docker.conf
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(TMPFILESDIR) systemd/tmpfiles.d/sshfs-docker.conf
	# What an administrator has changed stays; below DESTDIR there is none, only what an earlier build has left.
	@for file in config.toml ssh_config; do \
		if [ -n "$(DESTDIR)" ] || [ ! -e "$(SYSCONFDIR)/sshfs-docker/$$file" ]; then \
			$(INSTALL) -D -m 0644 -t $(DESTDIR)$(SYSCONFDIR)/sshfs-docker etc/$$file || exit; \
		fi; \
	done
	# sshfs-docker.socket makes the link to it in /etc/docker/plugins, where Docker looks.
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(DATADIR)/sshfs-docker etc/sshfs.spec packaging/purge.sh
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man5 man/sshfs-docker.toml.5
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man7 man/docker-volume-sshfs.7
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man8 man/sshfs-docker.8
	$(INSTALL) -D -m 0644 completions/sshfs-docker.bash $(DESTDIR)$(BASHDIR)/sshfs-docker
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(ZSHDIR) completions/_sshfs-docker
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(FISHDIR) completions/sshfs-docker.fish
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(DOCDIR) README.md SECURITY.md CHANGELOG.md packaging/deb/debian/copyright
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(DOCDIR)/docs docs/*.md
	# Not where podman reads it: whether to use this driver is for its administrator to say.
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(DOCDIR)/examples etc/containers.conf

.PHONY: packages
packages: tools-packages ## deb and rpm for amd64 and arm64, in target/packages (rustup for the C library musl)
	packaging/build "deb rpm" amd64 arm64

.PHONY: deb
deb: tools-deb ## The Debian package for this machine alone
	packaging/build deb $$(dpkg --print-architecture)

.PHONY: dist
dist: tools-rust ## The source tarball for distributors, with all crates, in target/dist
	packaging/dist

.PHONY: repo
repo: tools-repo ## Signed repositories for apt and dnf of target/packages: KEY=FINGERPRINT [URL=https://...]
	@packaging/repo '$(KEY)' '$(URL)'

.PHONY: man
man: tools-rust ## Write anew what man/, completions/ and debian/copyright take from the code; a unit test tells when
	@SSHFS_DOCKER_UPDATE_MANUAL=1 $(CARGO) test --locked --quiet --test manual -- --test-threads=1

# --all-targets leaves out the tiers with `test = false`, and drops their names beside it.
.PHONY: lint
lint: ## Formatting and clippy, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test arm64 --test bench --test demo -- -D warnings

.PHONY: test
test: ## All tiers in order, and their total (root; boots Debian hosts)
	@rm -rf target/test-log
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-arm64
	@$(MAKE) --no-print-directory test-fuzz
	@$(MAKE) --no-print-directory test-loopback
	@$(MAKE) --no-print-directory test-bench
	@# They wait for hosts most of the time.
	@$(MAKE) --no-print-directory --jobs 2 test-lab test-clients test-packages
	@tests/total target/test-log

.PHONY: test-unit
test-unit: tools-rust ## Unit and property tests, and the manual; needs nothing but cargo
	@tests/tier unit $(CARGO) test --locked --lib --test manual

# Emulated, all cases of all properties take 109 s instead of 6, and none is about the machine: a few are enough here.
.PHONY: test-arm64
test-arm64: tools-arm64 packages ## The unit tests and the package for arm64, under qemu (root, /dev/fuse, Linux 6.7)
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

.PHONY: test-bench
test-bench: tools-bench deb ## Every line of `make bench` at its smallest: the driver can do all that is measured (root, /dev/fuse)
	@SSHFS_DOCKER_BENCH_QUICK=1 tests/tier bench $(CARGO) test --locked --quiet --test bench

.PHONY: test-lab
test-lab: tools-lab packages ## The package on whole Debian hosts (root, /dev/fuse)
	@tests/tier lab $(CARGO) test --locked --test lab

.PHONY: test-clients
test-clients: tools-lab packages ## Docker of three releases, Compose, podman, and a swarm of two nodes (root, /dev/fuse)
	@tests/tier clients $(CARGO) test --locked --test clients

.PHONY: test-packages
test-packages: tools-lab tools-repo packages ## deb and rpm installed, upgraded, removed on whole hosts (root, /dev/fuse)
	@tests/tier packages $(CARGO) test --locked --test packages

.PHONY: check-packages
check-packages: tools-check packages ## lintian, rpmlint, piuparts; built again elsewhere they are the same (root)
	@tests/check-packages

.PHONY: fuzz
fuzz: tools-rust ## The fuzz tests for five minutes each (SSHFS_DOCKER_FUZZ_SECONDS=300), side by side
	@SSHFS_DOCKER_FUZZ_SECONDS=$${SSHFS_DOCKER_FUZZ_SECONDS:-300} $(CARGO) test --locked --test fuzz

.PHONY: soak
soak: tools-lab deb ## Two hundred callers for ten minutes on each release, then an audit
	@SSHFS_DOCKER_SOAK_SECONDS=600 $(CARGO) test --locked --test lab -- two_hundred_connections_on_fifty_volumes

.PHONY: demo
demo: tools-lab deb ## A user's first minute, on two Debian hosts booted for it
	@$(CARGO) test --locked --quiet --test demo

.PHONY: bench
bench: tools-bench deb ## Measure beside sshfs, rclone and ssh, into target/bench; GROUPS="data control" chooses (root, /dev/fuse)
	@$(CARGO) test --locked --quiet --test bench -- $(GROUPS)

# What the targets need from apt; each does nothing where it is there already.
.PHONY: tools-rust tools-deb tools-packages tools-repo tools-check tools-test tools-arm64 tools-lab tools-bench
tools-rust:
	@packaging/rust
tools-deb: tools-rust
	@packaging/need dpkg-buildpackage:dpkg-dev dh:debhelper fakeroot:fakeroot readelf:binutils
tools-packages: tools-deb
	@packaging/need rpmbuild:rpm zstd:zstd
tools-check: tools-packages
	@packaging/need lintian:lintian rpmlint:rpmlint piuparts:piuparts debootstrap:debootstrap unshare:util-linux \
		cpio:cpio
tools-repo:
	@packaging/need apt-ftparchive:apt-utils createrepo_c:createrepo-c rpmsign:rpm gpg:gpg gpg-agent:gpg-agent
tools-test: tools-rust
	@packaging/need sshfs:sshfs fusermount3:fuse3 ssh:openssh-client sshd:openssh-server openssl:openssl \
		unshare:util-linux ip:iproute2
tools-arm64: tools-test
	@packaging/target aarch64-unknown-linux-musl
	@packaging/need qemu-aarch64-static:qemu-user-static dpkg-deb:dpkg
tools-bench: tools-test
	@packaging/need rclone:rclone git:git sqlite3:sqlite3
tools-lab: tools-test
	@packaging/need systemd-nspawn:systemd-container debootstrap:debootstrap

.PHONY: clean
clean: ## Remove everything that was built, the lab's cache too
	$(CARGO) clean
