// Command guest is process 1 of a VM that measures its network card. The kernel's command
// line says what: measure=ADDRESS,GATEWAY,MTU,SERVER,BYTES. It writes "get MB/s" and "put
// MB/s" to the console, and ends the machine.
package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	defer unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	console := os.Stdout
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(console, "measure failed:", r)
		}
	}()
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	must(unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""))
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	must(err)
	files, _ := filepath.Glob("/modules/*.ko")
	for _, file := range files {
		if f, err := os.Open(file); err == nil {
			_ = unix.FinitModule(int(f.Fd()), "", 0)
		}
	}
	line, err := os.ReadFile("/proc/cmdline")
	must(err)
	_, rest, _ := strings.Cut(string(line), "measure=")
	args := strings.Split(strings.Fields(rest)[0], ",")
	configure(netip.MustParsePrefix(args[0]), netip.MustParseAddr(args[1]), number(args[2]))
	for _, what := range []string{"give", "take"} {
		fmt.Fprintf(console, "%s %.1f\n", what, move(what, args[3], int64(number(args[4]))))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	must(err)
	return n
}

func configure(prefix netip.Prefix, gateway netip.Addr, mtu int) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	must(err)
	request := func(command uint, set func(*unix.Ifreq)) {
		ifr, err := unix.NewIfreq("eth0")
		must(err)
		set(ifr)
		must(unix.IoctlIfreq(fd, command, ifr))
	}
	request(unix.SIOCSIFADDR, func(i *unix.Ifreq) { must(i.SetInet4Addr(prefix.Addr().AsSlice())) })
	request(unix.SIOCSIFNETMASK, func(i *unix.Ifreq) { must(i.SetInet4Addr(net.CIDRMask(prefix.Bits(), 32))) })
	request(unix.SIOCSIFMTU, func(i *unix.Ifreq) { i.SetUint32(uint32(mtu)) })
	request(unix.SIOCSIFFLAGS, func(i *unix.Ifreq) { i.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) })
	// struct rtentry
	type address struct {
		family, port uint16
		addr         [4]byte
		_            [8]byte
	}
	route := struct {
		_             uint64
		dst, gw, mask address
		flags         uint16
		_             [54]byte
	}{dst: address{family: unix.AF_INET}, gw: address{family: unix.AF_INET, addr: gateway.As4()}, mask: address{family: unix.AF_INET},
		flags: unix.RTF_UP | unix.RTF_GATEWAY}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&route)))
	if errno != 0 {
		panic(errno)
	}
}

func move(what, server string, n int64) float64 {
	conn, err := net.DialTimeout("tcp", server, 30*time.Second)
	must(err)
	defer conn.Close()
	began := time.Now()
	fmt.Fprintln(conn, what, n)
	if what == "give" {
		_, err = io.CopyN(io.Discard, conn, n)
		must(err)
	} else {
		block := make([]byte, 256<<10)
		for left := n; left > 0; {
			sent, err := conn.Write(block[:min(left, int64(len(block)))])
			must(err)
			left -= int64(sent)
		}
		var got int64
		_, err = fmt.Fscan(conn, &got)
		must(err)
	}
	return float64(n) / 1e6 / time.Since(began).Seconds()
}
