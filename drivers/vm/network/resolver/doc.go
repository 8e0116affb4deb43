// Package resolver answers a guest's questions for names, by asking the servers that the
// host asks. It asks anew, with nothing of a guest's message but the question and the
// flags, and passes answers on as they are, over UDP or TCP as the guest asked, so that all
// types of record work. It asks from the host: a server on the host's
// loopback, which the guest itself can't reach, works too.
//
// With an allow list it answers only for the names there, and remembers which addresses it
// gave out for them (Names). For all other names it says that there is no such name. That
// is not quite true, but it is what makes programs fail at once and for good: after
// "refused" they would try again. A guest that speaks EDNS is told the truth beside it.
package resolver
