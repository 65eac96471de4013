# SPDX-License-Identifier: Apache-2.0
#
# bash completion for sigrun: source it, or install it as
# /usr/share/bash-completion/completions/sigrun.

_sigrun_signals() {
  local name
  for name in $(compgen -A signal); do
    case $name in
      SIG*) printf '%s\n' "$name" "${name#SIG}" ;;
    esac
  done
}

_sigrun_pids() {
  local entry
  for entry in /proc/[0-9]*; do
    printf '%s\n' "${entry#/proc/}"
  done
}

_sigrun() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local command=${COMP_WORDS[1]:-} words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'run ps doctor send watch lab dump crash --help --version' -- "$cur")
    return
  fi
  case $prev in
    --tid | -t)
      if [[ $command == send ]]; then
        local pid=${COMP_WORDS[COMP_CWORD + 2]:-}
        [[ -d /proc/$pid/task ]] && words=$(ls "/proc/$pid/task")
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
      fi
      ;;
    --isolation) mapfile -t COMPREPLY < <(compgen -W 'strict shared' -- "$cur") && return ;;
    --way-in) mapfile -t COMPREPLY < <(compgen -W 'wait handler' -- "$cur") && return ;;
    --seed | --seconds | --procs | --timeout) return ;;
    --only | -o)
      words='foreign-call system-call mask-window full-pipe mask-bit'
      mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
      return
      ;;
    --value | -v | --retry | -r | --count | -n | --interval | -i | --looks) return ;;
  esac
  case $command in
    ps) words='--threads --all-signals --json --help' ;;
    doctor) words='--looks --interval --strict --json --help' ;;
    send) words='--value --tid --group --count --retry --wait --json --help' ;;
    crash)
      mapfile -t COMPREPLY < <(compgen -f -W '--diff --raw --json --help' -- "$cur")
      return
      ;;
    dump) words='--system --timeout --json --help' ;;
    watch) words='--interval --count --json --help' ;;
    lab)
      words='loss storm --help'
      [[ ${COMP_WORDS[2]:-} == loss && COMP_CWORD -gt 2 ]] && words='--only --json --help'
      [[ ${COMP_WORDS[2]:-} == storm && COMP_CWORD -gt 2 ]] &&
        words='--seed --seconds --isolation --way-in --procs --json --help'
      mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
      return
      ;;
    *)
      # The program that `run` starts, and its files.
      mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
      return
      ;;
  esac
  if [[ $cur != -* ]]; then
    words=$(_sigrun_pids)
    # send takes the signal first; a word that is a signal means that it has been given.
    if [[ $command == send && -z $(compgen -W "$(_sigrun_signals)" -X "!$prev" -- "$prev") ]]; then
      words=$(_sigrun_signals)
    fi
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _sigrun sigrun
