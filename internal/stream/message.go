package stream

import (
	"encoding/json"
	"fmt"
)

// MaxMessage bounds a control message of a trusted side, in bytes. A command with the
// longest argument list that Linux accepts fits.
const MaxMessage = 4 << 20

// WriteJSON sends v as one control message.
func WriteJSON(w *Writer, session uint32, v any) error {
	data, err := encodeMessage(v)
	if err != nil {
		return err
	}
	return w.Write(Control, session, data)
}

func encodeMessage(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err == nil && len(data)%MaxPayload == 0 {
		data = append(data, ' ') // so that the last frame is not full
	}
	return data, err
}

// ReadJSON reads one control message of at most MaxMessage bytes into v. A frame of another
// kind is an error.
func ReadJSON(r *Reader, v any) error {
	parts := Assembler{Max: MaxMessage}
	for {
		f, err := r.Read()
		if err != nil {
			return err
		}
		if f.Kind != Control {
			return fmt.Errorf("not a message: a frame of kind %d", f.Kind)
		}
		if data, whole, err := parts.Add(f); err != nil {
			return err
		} else if whole {
			return json.Unmarshal(data, v)
		}
	}
}

// Assembler puts control messages together from frames. Whatever the other side sends, it
// holds only one message of at most Max bytes. It is not safe for concurrent use.
type Assembler struct {
	Max     int
	session uint32
	partial []byte
}

// Add adds a Control frame. whole is true if that completes a message. Its data is valid
// until the next call.
func (a *Assembler) Add(f Frame) (data []byte, whole bool, err error) {
	switch {
	case len(a.partial) > 0 && f.Session != a.session:
		return nil, false, broken("a control message for session %d amid one for session %d", f.Session, a.session)
	case len(a.partial)+len(f.Payload) > a.Max:
		return nil, false, broken("a control message of more than %d bytes", a.Max)
	}
	if len(f.Payload) == MaxPayload {
		a.session, a.partial = f.Session, append(a.partial, f.Payload...)
		return nil, false, nil
	}
	if len(a.partial) == 0 {
		return f.Payload, true, nil
	}
	data = append(a.partial, f.Payload...)
	a.partial = nil
	return data, true, nil
}
