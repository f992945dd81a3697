# Forgets the volumes of this host and ends mounts that containers still use: postrm purge, and by hand where packages
# are not purged (docs/packages.md). Nothing on a server is touched: mounts are taken away first, and directories are
# removed with rmdir alone, which fails on what is still mounted.
# What cannot be removed holds up nothing else: directories of the mounts' user may have anything in them.
state=/var/lib/sshfs-docker
runtime=/run/sshfs-docker
# Not in a chroot, whose /run may be the host's.
if [ -d /run/systemd/system ] && ! systemd-detect-virt --quiet --chroot; then
    systemctl stop 'sshfs-docker-heal@*.service' 'sshfs-docker-mount-*.service' 'sshfs-docker-agent@*.socket' || true
    find /run/systemd/system -maxdepth 1 -type l -name 'sshfs-docker-mount-*:*.service.d' -delete || true
else
    runtime=/nonexistent
fi
# With everything that is mounted below it. No path below it is looked at: its server may hang.
while umount --lazy "$state/mnt" 2>/dev/null; do :; done
rm -f "$state"/secrets/* "$state"/secrets/.new-* "$state"/secrets/.next-* || true
rm -f "$state"/secrets.encrypted/* "$state"/secrets.encrypted/.new-* "$state"/secrets.encrypted/.next-* || true
rm -f "$state"/volumes/*.json "$state"/volumes/.new-* || true
rm -f "$state"/home/known_hosts "$state"/home/known_hosts.old || true
rm -f "$runtime"/lock "$runtime"/references/*.json "$runtime"/healing/*.json "$runtime"/history/*.json \
    "$runtime"/references/.new-* "$runtime"/healing/.new-* "$runtime"/history/.new-* "$runtime"/mounts/*/health.json \
    "$runtime"/host-keys/* "$runtime"/ssh-config/* "$runtime"/locks/* || true
for directory in "$state"/mountpoints/* "$state"/mnt "$state"/mountpoints "$state"/volumes "$state"/secrets \
    "$state"/secrets.encrypted "$state"/home/.ssh "$state"/home "$state" "$runtime"/references "$runtime"/healing \
    "$runtime"/history "$runtime"/mounts/* "$runtime"/mounts "$runtime"/checks "$runtime"/host-keys "$runtime"/ssh-config \
    "$runtime"/locks "$runtime"/agents/* "$runtime"/agents "$runtime"/agent "$runtime"; do
    [ ! -d "$directory" ] || rmdir "$directory" 2>/dev/null || true
done
