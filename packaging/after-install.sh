# What makes units go on as they are meant to, after an installation and an upgrade: in postinst and %posttrans.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # A running daemon is replaced, mounts go on, the socket keeps the calls that arrive meanwhile. A daemon that is not
    # running is started by the next call.
    systemctl try-restart sshfs-docker.service || true
    # The socket makes this link when it starts listening, and is not restarted: should the link have gone meanwhile, as
    # one that an earlier package owned, it has to be made again.
    spec=/etc/docker/plugins/sshfs.spec
    if systemctl --quiet is-active sshfs-docker.socket && [ ! -e "$spec" ] && [ ! -L "$spec" ]; then
        mkdir -p "${spec%/*}" && ln -sT /usr/share/sshfs-docker/sshfs.spec "$spec" || true
    fi
    # A removal has stopped it.
    if systemctl --quiet is-enabled sshfs-docker-metrics.timer 2>/dev/null; then
        systemctl start sshfs-docker-metrics.timer || true
    fi
fi
