package guest

import (
	"encoding/json"
	"fmt"

	"openshell-vm/internal/stream"
)

// maxMessage bounds a control message, in bytes: an Exec with the longest
// argument list that Linux takes fits.
const maxMessage = 4 << 20

// Send writes m as a control message of a session. A long one is split over
// several frames, of which all but the last are full.
func Send(w *stream.Writer, session uint32, m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data)%stream.MaxPayload == 0 {
		data = append(data, ' ') // so that the last frame is not a full one
	}
	return w.Write(stream.Control, session, data)
}

// Assembler puts control messages together from frames that Send wrote. The
// zero value is ready; it is not safe for concurrent use.
type Assembler struct {
	partial map[uint32][]byte
}

// Add takes a frame of kind stream.Control. ok says that it completed message m.
func (a *Assembler) Add(f stream.Frame) (m Message, ok bool, err error) {
	data := append(a.partial[f.Session], f.Payload...)
	if len(f.Payload) == stream.MaxPayload {
		if len(data) > maxMessage {
			delete(a.partial, f.Session)
			return m, false, fmt.Errorf("control message of more than %d bytes", maxMessage)
		}
		if a.partial == nil {
			a.partial = map[uint32][]byte{}
		}
		a.partial[f.Session] = data
		return m, false, nil
	}
	delete(a.partial, f.Session)
	if err := json.Unmarshal(data, &m); err != nil {
		return m, false, fmt.Errorf("control message: %w", err)
	}
	return m, true, nil
}
