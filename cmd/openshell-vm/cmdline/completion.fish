# Completion for openshell-vm; load it with: openshell-vm completion fish | source
function __openshell_vm_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c openshell-vm -a '(__openshell_vm_complete)'
