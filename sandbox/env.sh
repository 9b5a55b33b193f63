# To be sourced: `. sandbox/env.sh` points kubectl at the sandbox and puts its programs on the PATH. Works in bash, zsh and,
# from the project's directory, any POSIX shell.
# shellcheck shell=sh
_sandbox_file=${BASH_SOURCE:-$0}
_sandbox_project=$(CDPATH='' cd -- "$(dirname -- "$_sandbox_file")/.." 2>/dev/null && pwd)
[ -e "$_sandbox_project/sandbox/env.sh" ] || _sandbox_project=$PWD
KUBECONFIG=/var/lib/kube-ovn-sandbox/admin.kubeconfig
export KUBECONFIG
for _sandbox_directory in /var/lib/kube-ovn-sandbox/bin "$_sandbox_project/.venv/bin" "$_sandbox_project/sandbox/bin"; do
    case ":$PATH:" in
    *":$_sandbox_directory:"*) ;;
    *) PATH=$_sandbox_directory:$PATH ;;
    esac
done
export PATH
unset _sandbox_file _sandbox_project _sandbox_directory
