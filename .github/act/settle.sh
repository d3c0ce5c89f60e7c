# What bash reads before a step's script under act. Where a step fails, act takes its output no longer from the terminal
# that it gave it, at once: the last lines, which say why, would be lost on a busy machine. So wait until it has them.
unset BASH_ENV # scripts that the step runs need not wait
trap '[ $? = 0 ] || sleep 0.5' EXIT
