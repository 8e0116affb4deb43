package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/initramfs"
)

// Name is the word for users.
const Name = "qemu"

// Environment variables that FromEnvironment reads. initramfs.KernelEnv is another.
const (
	BinaryEnv    = "OPENSHELL_QEMU"      // Options.Binary
	VirtiofsdEnv = "OPENSHELL_VIRTIOFSD" // Options.Virtiofsd
	AccelEnv     = "OPENSHELL_ACCEL"     // Options.Accel: kvm or tcg
)

// Options are what a user may choose. An empty one is searched for.
type Options struct {
	Kernel    string // guest kernel image
	Binary    string // qemu-system program
	Virtiofsd string // either kind
	Accel     Accel
}

// Hypervisor implements hypervisor.Hypervisor.
type Hypervisor struct {
	Options
	binaries   host.Cache[host.Program]
	virtiofsds host.Cache[virtiofsd]
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// New makes a Hypervisor. It does not look at the host yet.
func New(o Options) *Hypervisor { return &Hypervisor{Options: o} }

// FromEnvironment takes the options from environment variables, by getenv.
func FromEnvironment(getenv func(string) string) (hypervisor.Hypervisor, error) {
	o := Options{
		Kernel: getenv(initramfs.KernelEnv), Binary: getenv(BinaryEnv), Virtiofsd: getenv(VirtiofsdEnv), Accel: Accel(getenv(AccelEnv)),
	}
	switch o.Accel {
	case "", KVM, TCG:
		return New(o), nil
	}
	return nil, &drivers.Error{Op: "read " + AccelEnv, Err: fmt.Errorf("%q is not understood", o.Accel), Hint: "use kvm or tcg"}
}

// Name is the word that users type.
func (*Hypervisor) Name() string { return Name }

// Staleness is 1 s: with the shares' virtiofsd the guest caches nothing. At most 64 ms
// were measured.
func (*Hypervisor) Staleness() time.Duration { return time.Second }

// Writes is true: each such directory has a virtiofsd of its own.
func (*Hypervisor) Writes() bool { return true }

// MTU is a bit less than the largest packet that the wire takes whole. Large packets cost
// an emulated processor less: docs/decisions/0019 has the figures.
func (*Hypervisor) MTU() int { return 32000 }

// Traits are an ordinary machine's: none.
func (*Hypervisor) Traits() guest.Traits { return guest.Traits{} }

// Works returns what is missing. KVM is not needed.
func (q *Hypervisor) Works(ctx context.Context, h *host.Host) error {
	_, err := q.Find(ctx, h)
	return err
}

// Tools are the programs and files of one VM.
type Tools struct {
	Binary    host.Program `json:"binary"`
	Accel     Accel        `json:"accel"`
	Virtiofsd host.Program `json:"virtiofsd"`
	Flavor    Virtiofsd    `json:"flavor"`
	Kernel    string       `json:"kernel"`
	Initramfs string       `json:"initramfs"`
}

// Read reads Tools from JSON.
func (*Hypervisor) Read(data []byte) (hypervisor.Tools, error) {
	t := new(Tools)
	return t, json.Unmarshal(data, t)
}

// Boot is slow under TCG.
func (t *Tools) Boot() hypervisor.Boot {
	if t.Accel == TCG {
		return hypervisor.Emulated
	}
	return hypervisor.Native
}

// translatedCode is how many bytes of translated code QEMU keeps at most under TCG. It
// is QEMU's default.
const translatedCode = 1 << 30

// Overhead is the translated code, under TCG.
func (t *Tools) Overhead() int64 {
	if t.Accel == TCG {
		return translatedCode
	}
	return 0
}

// Facts are the accelerator and the virtiofsd.
func (t *Tools) Facts() []drivers.Fact {
	return []drivers.Fact{
		{Name: "accelerator", Value: string(t.Accel)},
		{Name: "virtiofsd", Value: t.Virtiofsd.Path + " (" + string(t.Flavor) + ")"},
	}
}

// Account says which accelerator is used and why, and how to get the better one.
func (q *Hypervisor) Account(ctx context.Context, h *host.Host) (a hypervisor.Account) {
	fact := func(name, format string, args ...any) {
		a.Facts = append(a.Facts, drivers.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	a.Why = "QEMU works here"
	accel, why := q.accelerator(ctx, h)
	fact("accelerator", "%s: %s", accel, why)
	if hint := h.KVM(ctx, Name).Hint; accel == TCG && hint != "" {
		fact("to be faster", "%s", hint)
	}
	if binary, err := q.binary(ctx); err == nil {
		a.Version = host.Version(ctx, binary.Path)
		fact("qemu", "%s (%s)", binary.Path, a.Version)
	}
	if v, err := q.virtiofsd(ctx); err == nil {
		fact("virtiofsd", "%s (%s %s)", v.Path, v.flavor, v.version)
	}
	if kernel, err := q.kernel(); err == nil {
		fact("guest kernel", "%s (%s)", kernel.Image, kernel.Release)
	}
	return a
}

// accelerator chooses what runs the guest's instructions, and says why.
func (q *Hypervisor) accelerator(ctx context.Context, h *host.Host) (Accel, string) {
	if q.Accel != "" {
		return q.Accel, "it was asked for by " + AccelEnv
	}
	if r := h.KVM(ctx, Name); !r.Usable {
		return TCG, "KVM does not work here: " + r.Reason
	}
	return KVM, "KVM works here"
}
