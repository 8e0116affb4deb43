package guest

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/internal/stream"
)

func TestSendAndAssemble(t *testing.T) {
	// The message's length is varied around the size at which it is split.
	empty := execOf(0)
	for _, n := range []int{0, 10, stream.MaxPayload - 70, stream.MaxPayload, 3*stream.MaxPayload + 5} {
		roundTrip(t, execOf(n))
	}
	for n := stream.MaxPayload - 150; n < stream.MaxPayload; n++ {
		roundTrip(t, execOf(n))
	}
	roundTrip(t, empty)
}

func execOf(n int) Message {
	return Message{Exec: &Exec{Process: drivers.Process{Args: []string{strings.Repeat("x", n)}}}}
}

func roundTrip(t *testing.T, want Message) {
	t.Helper()
	var wire bytes.Buffer
	w := stream.NewWriter(&wire)
	if err := Send(w, 7, want); err != nil {
		t.Fatal(err)
	}
	if err := Send(w, 8, Message{Started: &Started{PID: 3}}); err != nil {
		t.Fatal(err)
	}
	got := receive(t, &wire)
	if len(got) != 2 || !reflect.DeepEqual(got[0], want) || got[1].Started == nil {
		t.Fatalf("%d messages came, or other ones than were sent", len(got))
	}
}

func receive(t *testing.T, wire io.Reader) (all []Message) {
	t.Helper()
	var a Assembler
	r := stream.NewReader(wire)
	for {
		f, err := r.Read()
		if err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		m, ok, err := a.Add(f)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			all = append(all, m)
		}
	}
}

func TestAssemblerInterleavedAndBroken(t *testing.T) {
	var a Assembler
	full := bytes.Repeat([]byte(" "), stream.MaxPayload)
	if _, ok, err := a.Add(stream.Frame{Session: 1, Payload: full}); ok || err != nil {
		t.Fatalf("a full frame completed a message: %v", err)
	}
	if _, ok, err := a.Add(stream.Frame{Session: 2, Payload: []byte(`{"stop":{}}`)}); !ok || err != nil {
		t.Fatalf("another session was held up: %v", err)
	}
	if m, ok, err := a.Add(stream.Frame{Session: 1, Payload: []byte(`{"stop":{}}`)}); !ok || err != nil || m.Stop == nil {
		t.Fatalf("the message was not put together: %v", err)
	}
	if _, _, err := a.Add(stream.Frame{Session: 1, Payload: []byte(`{`)}); err == nil {
		t.Error("broken JSON was taken")
	}
	if m, ok, err := a.Add(stream.Frame{Session: 1, Payload: []byte(`{"later":{}}`)}); !ok || err != nil || m != (Message{}) {
		t.Errorf("an unknown message is not passed over: %v", err)
	}
	var err error
	for i := 0; i <= maxMessage/stream.MaxPayload && err == nil; i++ {
		_, _, err = a.Add(stream.Frame{Session: 1, Payload: full})
	}
	if err == nil {
		t.Error("a message without end was taken")
	}
}
