package stream

import (
	"bytes"
	"strings"
	"testing"
)

// TestMessagesRoundTrip tries messages around the length at which they are split.
func TestMessagesRoundTrip(t *testing.T) {
	lengths := []int{0, 10, 3*MaxPayload + 5}
	for n := MaxPayload - 10; n < MaxPayload+10; n++ {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		var wire bytes.Buffer
		w, r := NewWriter(&wire), NewReader(&wire)
		for _, text := range []string{strings.Repeat("x", n), "next"} {
			if err := WriteJSON(w, 0, text); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{strings.Repeat("x", n), "next"} {
			var got string
			if err := ReadJSON(r, &got); err != nil || got != want {
				t.Fatalf("length %d: %d bytes, %v", n, len(got), err)
			}
		}
	}
}

// TestAssemblerIsBounded checks that an Assembler never holds more than one message.
func TestAssemblerIsBounded(t *testing.T) {
	full := bytes.Repeat([]byte(" "), MaxPayload)
	a := Assembler{Max: MaxMessage}
	if _, whole, err := a.Add(Frame{Session: 1, Payload: full}); whole || err != nil {
		t.Fatalf("a full frame completed a message: %v", err)
	}
	if _, _, err := a.Add(Frame{Session: 2, Payload: full}); err == nil {
		t.Error("it holds a second message")
	}
	var err error
	for i := 0; i < MaxMessage/MaxPayload && err == nil; i++ {
		_, _, err = a.Add(Frame{Session: 1, Payload: full})
	}
	if err == nil {
		t.Error("a message without end was taken")
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for name, f := range map[string]Frame{"bytes": {Kind: Stdout}, "broken JSON": {Kind: Control, Payload: []byte("{")}} {
		var wire bytes.Buffer
		NewWriter(&wire).Write(f.Kind, 0, f.Payload)
		if err := ReadJSON(NewReader(&wire), &struct{}{}); err == nil {
			t.Errorf("%s were taken", name)
		}
	}
}
