#!/usr/bin/perl
# Tries to get out of the sandbox of a mount, and says what came of it: one line per attempt, with "done" or the name of
# the error. sshfs starts it in the place of ssh; root starts it on the host, to see that the attempts are some. Each is
# made by a process of its own and undone. Nothing but perl-base is needed.
#
# The numbers of system calls are those of x86-64. Where a success would do harm, an argument is wrong in a way that the
# kernel finds only after it has checked the privilege: EINVAL, EFAULT, ENOENT or EBADF then mean "you may".
use strict;
use warnings;
use POSIX ();
use Socket;

# Another mount: the process of its ssh, its volume, its cgroup.
my ($pid, $volume, $cgroup) = @ARGV;
my $unit = "sshfs-docker-mount-$volume.service";
my $state = "/var/lib/sshfs-docker";

# What a child process that found no errno ends with.
my $no_effect = 255;

sub attempt {
    my ($what, $try) = @_;
    my $child = fork // die "fork: $!";
    if (!$child) {
        $! = 0;
        my $done = $try->();
        POSIX::_exit($done ? 0 : $! + 0 || $no_effect);
    }
    waitpid $child, 0;
    my $errno = $? >> 8;
    $! = $errno;
    my ($name) = sort grep { $!{$_} } keys %!;
    my $result =
        $? == 0              ? "done"
      : $? & 127             ? "signal " . ($? & 127)
      : $errno == $no_effect ? "no effect"
      :                        $name // $errno;
    print STDERR "attempt: $what: $result\n";
}

# Copies its arguments, because syscall() refuses constants: nothing comes back.
sub call { my ($number, @arguments) = @_; return syscall($number, @arguments) != -1 }
sub readable { open(my $file, "<", shift) or return; return defined read($file, my $byte, 1) }
sub listed { return opendir(my $directory, shift) }

sub created {
    my $path = shift() . "/escape-of-$$";
    open(my $file, ">", $path) or return;
    return unlink $path;
}

# Without writing to it.
sub writable { return open(my $file, "+<", shift) }

sub reached {
    my ($address) = @_;
    socket(my $socket, AF_UNIX, SOCK_STREAM, 0) or return;
    return connect($socket, pack_sockaddr_un($address));
}

# For what root may do anyhow.
sub become_user {
    return if $>;
    my ($uid, $gid) = (getpwnam "sshfs-docker")[2, 3];
    POSIX::setgid($gid) && POSIX::setuid($uid) or die "setuid: $!";
}

# A process descriptor (pidfd_open).
sub pidfd { my $fd = syscall(434, $pid + 0, 0); return $fd == -1 ? () : $fd }

my $abi = syscall(444, 0, 0, 1);
print STDERR "landlock: $abi\n";

# The files of the host, and of other volumes.
attempt "create a file in $_", sub { created($_) }
    for "/etc", "/usr/bin", "/boot", "/run", "/var/log", "/dev/shm/..", $state, "$state/mnt/$volume";
attempt "list $_", sub { listed($_) }
    for "/root", "$state/volumes", "$state/secrets", "$state/mnt", "$state/mnt/$volume", "$state/mountpoints/$volume",
    "/run/sshfs-docker/references", "/var/lib/docker";
attempt "read $_", sub { readable($_) } for "/etc/shadow", "$state/volumes/$volume.json";
attempt "open $_ for writing", sub { writable($_) } for "/proc/sys/kernel/core_pattern";
attempt "end another mount's FUSE connection",
    sub { open(my $file, ">", (glob "/sys/fs/fuse/connections/*/abort")[0] // "/sys/fs/fuse/connections/none") };
attempt "enter another mount's cgroup", sub {
    my ($procs) = grep { -e } map { "/sys/fs/cgroup$_$cgroup/cgroup.procs" } "", "/systemd", "/unified";
    return open(my $file, ">", $procs // "/nonexistent");
};

# The credential and the processes of another mount.
attempt "read another mount's credential", sub { readable("/run/credentials/$unit/_identity") };
attempt "read another mount's credential through /proc/PID/root",
    sub { readable("/proc/$pid/root/run/credentials/$unit/_identity") };
attempt "read another mount's $_", sub { readable("/proc/$pid/$_") } for "environ", "maps", "cmdline", "mem";
attempt "write another mount's memory", sub { writable("/proc/$pid/mem") };
attempt "list another mount's open files", sub { listed("/proc/$pid/fd") };
attempt "process_vm_readv of another mount", sub {
    my $buffer = "x";
    call(310, $pid + 0, pack("PQ", $buffer, 1), 1, pack("QQ", 4096, 1), 1, 0);
};
attempt "ptrace another mount", sub { call(101, 0x4206, $pid + 0, 0, 0) };
attempt "take another mount's open file", sub { my ($fd) = pidfd() or return; call(438, $fd, 0, 0) };
attempt "change a limit of another mount", sub {
    my $limit = "\0" x 16;
    syscall(302, $pid + 0, 7, 0, $limit) != -1 && call(302, $pid + 0, 7, $limit, 0);
};
attempt "change the priority of another mount", sub { call(141, 0, $pid + 0, 0) };
attempt "change the processors of another mount",
    sub { my $set = "\xff" x 128; call(203, $pid + 0, 128, $set) };
attempt "signal another mount by $_->[0]", $_->[1]
    for ["kill", sub { kill 0, $pid }], ["tgkill", sub { call(234, $pid + 0, $pid + 0, 0) }],
    ["pidfd_send_signal", sub { my ($fd) = pidfd() or return; call(424, $fd, 0, 0, 0) }];

# Services of the host.
attempt "reach $_", sub { reached($_) }
    for "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/docker.sock", "/run/containerd/containerd.sock",
    "/run/sshfs-docker.sock";
attempt "reach an abstract socket", sub { reached("\0escape") };

# Devices and sockets.
attempt "open /dev/fuse", sub { writable("/dev/fuse") };
attempt "make the device /dev/mem", sub { call(133, "/tmp/escape-$$", 020600, 1 << 8 | 1) && unlink "/tmp/escape-$$" };
attempt "open a $_->[0] socket", sub { socket(my $socket, $_->[1], $_->[2], $_->[3]) }
    for ["raw", AF_INET, SOCK_RAW, 1], ["raw IPv6", 10, SOCK_RAW, 58], ["packet", 17, SOCK_RAW, 0],
    ["virtual machine", 40, SOCK_STREAM, 0];

# The kernel.
attempt $_->[0], sub { call(@$_[1 .. $#$_]) }
    for ["init_module", 175, 0, 0, ""], ["finit_module", 313, -1, "", 0], ["delete_module", 176, "", 0],
    ["kexec_load", 246, 0, 0, 0, 0xffff], ["bpf", 321, 0, 1, 8], ["perf_event_open", 298, 1, 0, -1, -1, 0],
    ["userfaultfd", 323, 1], ["io_uring_setup", 425, 1, 1], ["io_setup", 206, 1, 1],
    ["keyctl", 250, 0, -3, 1], ["add_key", 248, "user", "escape", "x", 1, -2], ["request_key", 249, "user", "escape", 0, 0],
    ["umount", 166, "/nonexistent", 0], ["fsopen", 430, "tmpfs", 0], ["open_tree", 428, -100, "/", 1],
    ["move_mount", 429, -1, "", -1, "", 0], ["unshare a user namespace", 272, 0x10000000],
    ["unshare a mount namespace", 272, 0x20000], ["unshare a network namespace", 272, 0x40000000],
    ["setns", 308, -1, 0], ["chroot", 161, "/"], ["pivot_root", 155, "/", "/"], ["swapon", 167, "/nonexistent", 0],
    ["swapoff", 168, "/nonexistent"], ["reboot", 169, 0, 0, 0, 0], ["settimeofday", 164, 1, 0],
    ["clock_settime", 227, 0, 1], ["sethostname", 170, "", -1], ["setdomainname", 171, "", -1],
    ["acct", 163, "/nonexistent"], ["iopl", 172, 3], ["ioperm", 173, 0, 1, 1], ["syslog", 103, 10, 0, 0],
    ["open_by_handle_at", 304, -1, 1, 0], ["fanotify_init", 300, 0, 0], ["quotactl", 179, 0x800007 << 8, 0, 0, 1],
    ["become real-time", 144, 0, 1, pack("i", 1)], ["personality", 135, 0x40000];
attempt "mount", sub { call(165, "none", "/mnt", "tmpfs", 0, 0) && call(166, "/mnt", 2) };

# Privilege.
attempt "setuid", sub { call(105, 0) };
attempt "setgroups", sub { call(116, 1, pack("I", 0)) };
attempt "raise an ambient capability", sub {
    my ($header, $data) = (pack("Vi", 0x20080522, 0), "\0" x 24);
    syscall(125, $header, $data) != -1 or return;
    my @sets = unpack("V6", $data);
    @sets[2, 5] = @sets[1, 4];
    $sets[2] |= 2;
    call(126, $header, pack("V6", @sets)) && call(157, 47, 2, 1, 0, 0);
};
attempt "run a set-user-ID program", sub { become_user(); `/usr/local/bin/escape-id -u` eq "0\n" };
attempt "run a program with file capabilities", sub { become_user(); `/usr/local/bin/escape-cat /etc/shadow 2>&1` =~ /^root:/ };
attempt "make a set-user-ID file", sub {
    my $file = "/tmp/escape-$$";
    open(my $handle, ">", $file) or return;
    my $done = chmod 04755, $file;
    my $errno = $!;
    unlink $file;
    $! = $errno;
    return $done;
};
attempt "map memory to write and execute", sub { call(9, 0, 4096, 7, 0x22, -1, 0) };
attempt "make written memory executable", sub {
    my $address = syscall(9, 0, 4096, 3, 0x22, -1, 0);
    return $address != -1 && call(10, $address, 4096, 5);
};
