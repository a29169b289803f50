// SPDX-License-Identifier: MIT

package fsrace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrOwner is wrapped by every error of [ParseOwner].
var ErrOwner = errors.New("not an owner record")

// An Owner names a process so that it cannot be mistaken for another: not by a
// later process with the same PID, not after a reboot, not in another container.
// Host, Label and Since are for people and decide nothing: hosts get renamed,
// containers share or change their host names, and clocks differ.
type Owner struct {
	Host   string    // host name at the time, a label only
	BootID string    // the kernel's random boot id (random(4)), empty if there is none
	PIDNS  string    // inode of the PID namespace (pid_namespaces(7)), empty if unknown
	PID    int       // in that namespace; always positive in a valid record
	Start  uint64    // start of the process in clock ticks since boot (proc_pid_stat(5), field 22), 0 if unknown
	Since  time.Time // when the record was made, in UTC to the microsecond
	Label  string    // what the program calls itself
	Nonce  string    // differs in every record that Self makes
}

// Self returns a new record of this process: two calls differ in Nonce and Since.
// It is safe for concurrent use.
func Self(label string) Owner {
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails, since Go 1.24
	host, _ := os.Hostname()
	id := self()
	return Owner{
		Host: host, BootID: id.boot, PIDNS: id.pidns, PID: os.Getpid(), Start: id.start,
		Since: time.Now().UTC().Truncate(time.Microsecond),
		Label: label, Nonce: hex.EncodeToString(nonce[:]),
	}
}

const sinceLayout = "20060102T150405.000000Z"

// String returns o on one line, as comma-separated key=value pairs that
// [ParseOwner] reads back. It consists of ASCII letters, digits and _.,=~%-
// only, so it may stand in a file or, if Host and Label are short enough for the
// file system's limit (usually 255 bytes), be a file's name. Empty fields are left out.
func (o Owner) String() string {
	var b strings.Builder
	add := func(key, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(escape(value))
	}
	add("label", o.Label)
	add("host", o.Host)
	add("pid", strconv.Itoa(o.PID))
	if o.Start != 0 {
		add("start", strconv.FormatUint(o.Start, 10))
	}
	add("boot", o.BootID)
	add("ns", o.PIDNS)
	if !o.Since.IsZero() {
		add("since", o.Since.UTC().Format(sinceLayout))
	}
	add("nonce", o.Nonce)
	return b.String()
}

// escape leaves letters, digits and -_.~ as they are.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// ParseOwner reads what [Owner.String] wrote, and nothing else: an error wraps
// [ErrOwner] and says what is wrong. A PID must be in 1 to 2^31-1, since 0 and
// negative numbers name process groups to kill(2). There is no line end.
func ParseOwner(s string) (Owner, error) {
	var o Owner
	bad := func(format string, args ...any) (Owner, error) {
		return Owner{}, fmt.Errorf("fsrace: %.300q is %w: %s", s, ErrOwner, fmt.Sprintf(format, args...))
	}
	for pair := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return bad("%v", err)
		}
		switch key {
		case "label":
			o.Label = value
		case "host":
			o.Host = value
		case "pid":
			pid, err := strconv.ParseInt(value, 10, 32)
			if err != nil || pid <= 0 {
				return bad("pid %q", value)
			}
			o.PID = int(pid)
		case "start":
			if o.Start, err = strconv.ParseUint(value, 10, 64); err != nil {
				return bad("start %q", value)
			}
		case "boot":
			o.BootID = value
		case "ns":
			o.PIDNS = value
		case "since":
			if o.Since, err = time.Parse(sinceLayout, value); err != nil {
				return bad("since %q", value)
			}
		case "nonce":
			o.Nonce = value
		default:
			return bad("unknown field %q", key)
		}
	}
	if o.PID == 0 || o.Nonce == "" {
		// The nonce comes last, so a record without one was cut short.
		return bad("no pid or no nonce")
	}
	if o.String() != s {
		return bad("not as it was written, %s", o)
	}
	return o, nil
}

// Liveness is what one process can know of another.
type Liveness int

// Unknown is never a licence to take over what the owner holds.
const (
	Unknown Liveness = iota // no proof either way
	Alive                   // the very process runs
	Dead                    // the very process certainly runs no more
)

// String returns "unknown", "alive" or "dead".
func (l Liveness) String() string {
	switch l {
	case Alive:
		return "alive"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// Liveness reports whether the process that o names still runs. Dead needs proof:
// the same boot of the same kernel, the same PID namespace, and either no process
// of that PID, or one that started at another time. Everything else is Unknown:
// another host, another container, another boot (machine images are cloned with
// their identities, so a different boot id does not prove a reboot), a process
// this user may not look at. A stopped process is Alive, a zombie is Dead.
//
// Liveness makes a few system calls and never blocks.
func (o Owner) Liveness() Liveness { return judge(o, self(), look) }

// An identity is what is known of this process without asking anybody.
type identity struct {
	boot, pidns string
	start       uint64
}

// A sighting is what the kernel says of a PID in our own namespace.
type sighting struct {
	gone   bool   // there is no such process
	exited bool   // it is a zombie with no thread left
	start  uint64 // 0 if it cannot be read
}

func judge(o Owner, me identity, look func(pid int) sighting) Liveness {
	if o.PID <= 0 || me.boot == "" || me.pidns == "" || o.BootID != me.boot || o.PIDNS != me.pidns {
		return Unknown
	}
	s := look(o.PID)
	switch {
	case s.gone:
		return Dead
	case o.Start == 0 || s.start == 0:
		return Unknown
	case s.start != o.Start || s.exited:
		return Dead
	}
	return Alive
}
