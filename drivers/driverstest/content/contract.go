package content

// Contract is what one process inside sees of the contract, as the witness
// reports it to the suite.
type Contract struct {
	UID      int
	Env      map[string]string // the contract's variables
	Token    uint64            // generation of the file that the variable names
	Metadata []byte            // of metadata.json
	Names    []string          // in the share
	Errors   map[string]string // by what was tried; "write" is to have one
}
