_sshfs_docker_volumes() {
    command ls /var/lib/sshfs-docker/volumes 2>/dev/null | command sed -n 's/\.json$//p'
}

_sshfs_docker() {
    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=
    # The value of an option: a file, as bash itself completes it.
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        --configuration | --output | --runtime | --socket | --state | --user) return ;;
    esac
    [[ $COMP_CWORD -gt 1 ]] || command=
    case $command in
        '') words="serve heal forget-host-key metrics --help --version" ;;
        serve) words="--socket --configuration --state --runtime --user --help" ;;
        heal) words="--configuration --state --runtime --user --help $(_sshfs_docker_volumes)" ;;
        forget-host-key) words="--configuration --state --runtime --user --help" ;;
        metrics) words="--output --configuration --state --runtime --user --help" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -F _sshfs_docker -o bashdefault -o default sshfs-docker
