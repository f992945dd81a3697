_sshfs_docker_volumes() {
    command ls /var/lib/sshfs-docker/volumes 2>/dev/null | command sed -n 's/\.json$//p'
}

_sshfs_docker() {
    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=
    # The value of an option: a file, as bash itself completes it.
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        --configuration | --keys | --lines | --name | --opt | --output | --plugins | --runtime | --socket | --state | --unset | --user | -o) return ;;
    esac
    [[ $COMP_CWORD -gt 1 ]] || command=
    case $command in
        '') words="status check set restart doctor import forget-host-key metrics serve heal --help --version" ;;
        status) words="--lines --json --configuration --state --runtime --user --help $(_sshfs_docker_volumes)" ;;
        check) words="-o --opt --password-stdin --no-write --name --json --configuration --state --runtime --user --help" ;;
        set) words="-o --opt --unset --password-stdin --json --configuration --state --runtime --user --help $(_sshfs_docker_volumes)" ;;
        restart) words="--json --configuration --state --runtime --user --help $(_sshfs_docker_volumes)" ;;
        doctor) words="--json --configuration --state --runtime --user --help" ;;
        import) words="--apply --keys --plugins --json --configuration --state --runtime --user --help" ;;
        forget-host-key) words="--json --configuration --state --runtime --user --help" ;;
        metrics) words="--output --configuration --state --runtime --user --help" ;;
        serve) words="--socket --configuration --state --runtime --user --help" ;;
        heal) words="--configuration --state --runtime --user --help $(_sshfs_docker_volumes)" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -F _sshfs_docker -o bashdefault -o default sshfs-docker
