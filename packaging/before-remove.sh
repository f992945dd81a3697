# What the administrator should know before the package goes, in prerm and %preun. Mounts in use outlive the package:
# their containers go on.
units=$(systemctl list-units --state=active --plain --no-legend 'sshfs-docker-mount-[!:]*.service' | cut -d ' ' -f 1)
if [ -n "$units" ]; then
    echo "sshfs-docker: these volumes are in use; their containers keep them until they stop or the connection breaks:"
    echo "$units" | sed 's/^sshfs-docker-mount-\([^:]*\).*\.service$/  \1/' | sort -u
    echo "sshfs-docker: nobody unmounts them then, but a new installation, a purge or a reboot"
fi
# dockerd keeps what it knows of a plugin as long as it runs, and waits 15 s for one that is gone.
if systemctl --quiet is-active docker.service; then
    echo "sshfs-docker: Docker remembers the driver until it is restarted: systemctl restart docker"
fi
# What dockerd knows of volumes outlives that: it asks for each whenever it starts, and 'docker volume rm' needs us.
volumes=$(find /var/lib/sshfs-docker/volumes -name '[!.]*.json' -printf '  %f\n' 2>/dev/null | sed 's/\.json$//' | sort)
if [ -n "$volumes" ]; then
    echo "sshfs-docker: whenever Docker starts it waits 15 s for each of these volumes, unless they are removed before"
    echo "sshfs-docker: the package (docker volume rm; that deletes nothing on a server):"
    echo "$volumes"
fi
