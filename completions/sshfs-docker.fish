function __sshfs_docker_volumes
    command ls /var/lib/sshfs-docker/volumes 2>/dev/null | command sed -n 's/\.json$//p'
end

# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sshfs_docker_global_optspecs
    string join \n h/help V/version
end

function __fish_sshfs_docker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sshfs_docker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sshfs_docker_using_subcommand
    set -l cmd (__fish_sshfs_docker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -s V -l version -d 'Print version'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "status" -d 'Show all volumes, or all about one of them'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "check" -d 'Try a mount before there is a volume: every step, how fast it is, and the command that creates the volume'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "set" -d 'Change options of a volume for its next mount'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "restart" -d 'Mount a volume anew, with its present options and under running containers'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "doctor" -d 'Look for what is wrong with this host, and say what to do about it'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "import" -d 'Take over the volumes of the plugin vieux/sshfs, or of a fork of it'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "forget-host-key" -d 'Forget the host key learnt from a server, so that the next mount accepts a new one'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "metrics" -d 'Print what is counted, in the text format of Prometheus'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "serve" -d 'Answer Docker\'s calls; started by sshfs-docker.service'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "heal" -d 'Give running containers a fresh mount after sshfs died; started by sshfs-docker-heal@.service'
complete -c sshfs-docker -n "__fish_sshfs_docker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l lines -d 'How much of its journal to show; 0 for none' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand status" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -s o -l opt -d 'An option of the volume, as \'docker volume create\' takes it' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l name -d 'What the volume is called in the command that creates it' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l password-stdin -d 'Read the password of the volume from standard input; a terminal does not show it'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l no-write -d 'Write nothing to the server; then neither writing nor reading is measured'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -s o -l opt -d 'An option as for \'docker volume create\'; those that are not named stay' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l unset -d 'An option that the volume is to have no longer' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l password-stdin -d 'Read a password from standard input, in the place of the one there was; a terminal does not show it'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand set" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand restart" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l keys -d 'The directory that the plugin sees as /root/.ssh, where Docker\'s settings of the plugin do not name it (sshkey.source)' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l plugins -d 'Where Docker keeps plugins' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l apply -d 'Create the volumes'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -l json -d 'Print JSON'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand forget-host-key" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -l output -d 'Replace this file, for the textfile collector of node_exporter' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand metrics" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -l socket -d 'Listen on this path instead of the socket that systemd passes' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand serve" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand heal" -l configuration -d 'Configuration of the administrator' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand heal" -l state -d 'Definitions and mountpoints' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand heal" -l runtime -d 'What a reboot may forget' -r -F
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand heal" -l user -d 'The user that runs sshfs and ssh' -r
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand heal" -s h -l help -d 'Print help'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "status" -d 'Show all volumes, or all about one of them'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "check" -d 'Try a mount before there is a volume: every step, how fast it is, and the command that creates the volume'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "set" -d 'Change options of a volume for its next mount'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "restart" -d 'Mount a volume anew, with its present options and under running containers'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "doctor" -d 'Look for what is wrong with this host, and say what to do about it'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "import" -d 'Take over the volumes of the plugin vieux/sshfs, or of a fork of it'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "forget-host-key" -d 'Forget the host key learnt from a server, so that the next mount accepts a new one'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "metrics" -d 'Print what is counted, in the text format of Prometheus'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "serve" -d 'Answer Docker\'s calls; started by sshfs-docker.service'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "heal" -d 'Give running containers a fresh mount after sshfs died; started by sshfs-docker-heal@.service'
complete -c sshfs-docker -n "__fish_sshfs_docker_using_subcommand help; and not __fish_seen_subcommand_from status check set restart doctor import forget-host-key metrics serve heal help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshfs-docker -n "__fish_seen_subcommand_from status set restart heal" -f -a "(__sshfs_docker_volumes)"
