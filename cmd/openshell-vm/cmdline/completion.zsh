#compdef openshell-vm
# Completion for openshell-vm; load it with: source <(openshell-vm completion zsh)
_openshell_vm() {
	local line
	local -a candidates
	while IFS= read -r line; do
		candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
	if ((${#candidates})); then
		_describe openshell-vm candidates
	else
		_files
	fi
}
if [ "${funcstack[1]}" = _openshell_vm ]; then
	_openshell_vm
else
	compdef _openshell_vm openshell-vm
fi
