# What units would have removed, had they been stopped: in postrm and %postun.
# Figures that nobody writes any more would be served for ever.
rm -f /var/lib/prometheus/node-exporter/sshfs-docker.prom || true
# The link by which Docker finds the driver, where it is still ours.
spec=/etc/docker/plugins/sshfs.spec
[ "$(readlink "$spec")" != /usr/share/sshfs-docker/sshfs.spec ] || rm -f "$spec" || true
# Docker's own, if Docker is there.
rmdir /etc/docker/plugins /etc/docker 2>/dev/null || true
