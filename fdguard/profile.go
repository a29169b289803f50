// SPDX-License-Identifier: MIT

package fdguard

import (
	"compress/gzip"
	"fmt"
	"io"
	"reflect"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const profileName = "fdguard.open"

// A profile is the registry's entry in runtime/pprof.
//
// The public way to fill one is to Add each handle as it opens and Remove it as
// it closes, which unwinds the stack once more and costs more than the open
// itself. The predefined profiles are instead written out of tables kept
// elsewhere, through two unexported fields; so is ours, if they are found as
// expected. If not, it is filled the public way.
type profile struct {
	name   string // "" to stay unpublished
	once   sync.Once
	public *pprof.Profile // to Add to and Remove from; nil if written from the table
}

// publish makes the profile known, the first time.
func (r *registry) publish() {
	r.profile.once.Do(func() {
		if r.profile.name == "" || pprof.Lookup(r.profile.name) != nil {
			return // or of another copy of this package in the program
		}
		p := pprof.NewProfile(r.profile.name)
		count := func() int { handles, _ := r.table.count(); return handles }
		if !setField(p, "count", count) || !setField(p, "write", r.writeProfile) {
			r.profile.public = p
		}
		// Takes runtime/pprof's lock again, so that whoever looks the profile up
		// from now on sees the fields.
		pprof.Lookup(r.profile.name)
	})
}

// setField sets an unexported field if it exists with exactly this type.
func setField[T any](p *pprof.Profile, name string, value T) bool {
	f := reflect.ValueOf(p).Elem().FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return false
	}
	*(*T)(unsafe.Pointer(f.UnsafeAddr())) = value
	return true
}

// writeProfile writes the table as a gzipped profile.proto, or as text if debug
// is not zero.
func (r *registry) writeProfile(w io.Writer, debug int) error {
	if debug != 0 {
		rep := r.snapshot()
		fmt.Fprintf(w, "%s profile: total %d\n", profileName, rep.Tracked)
		for _, g := range rep.ByStack {
			if _, err := fmt.Fprintf(w, "\n%d @ %q and %d other names, oldest %v\n%s\n", g.Handles, g.Name, g.Names-1, g.Oldest, indent(g.Stack)); err != nil {
				return err
			}
		}
		return nil
	}
	byStack := map[*stack]int64{}
	r.table.each(func(h *holder) { byStack[h.stack]++ })
	b := newProto()
	for s, n := range byStack {
		b.sample(s.resolve(), n)
	}
	zw := gzip.NewWriter(w)
	if _, err := zw.Write(b.finish(time.Now())); err != nil {
		return err
	}
	return zw.Close()
}

func indent(s Stack) string {
	var out strings.Builder
	for _, f := range s {
		out.WriteString("#\t" + f.String() + "\n")
	}
	return out.String()
}

// A proto builds a profile.proto (github.com/google/pprof/proto/profile.proto).
type proto struct {
	out       []byte
	strings   map[string]uint64
	table     []string
	locations map[Frame]uint64
	functions map[[2]string]uint64
}

func newProto() *proto {
	b := &proto{strings: map[string]uint64{}, locations: map[Frame]uint64{}, functions: map[[2]string]uint64{}}
	b.str("")
	b.msg(1, b.valueType("handles", "count")) // sample_type
	return b
}

func (b *proto) valueType(kind, unit string) []byte {
	return field(field(nil, 1, b.str(kind)), 2, b.str(unit))
}

func (b *proto) sample(s Stack, n int64) {
	if len(s) == 0 {
		s = Stack{{Func: "(stack not recorded)"}}
	}
	var m []byte
	for _, f := range s {
		m = field(m, 1, b.location(f)) // location_id
	}
	b.msg(2, field(m, 2, uint64(n))) // sample{value}
}

func (b *proto) location(f Frame) uint64 {
	id := b.locations[f]
	if id == 0 {
		id = uint64(len(b.locations) + 1)
		b.locations[f] = id
		line := field(field(nil, 1, b.function(f)), 2, uint64(f.Line))
		b.msg(4, bytesField(field(nil, 1, id), 4, line)) // location{id, line}
	}
	return id
}

func (b *proto) function(f Frame) uint64 {
	key := [2]string{f.Func, f.File}
	id := b.functions[key]
	if id == 0 {
		id = uint64(len(b.functions) + 1)
		b.functions[key] = id
		m := field(nil, 1, id)
		m = field(m, 2, b.str(f.Func))
		m = field(m, 3, b.str(f.Func))
		b.msg(5, field(m, 4, b.str(f.File))) // function{id, name, system_name, filename}
	}
	return id
}

func (b *proto) str(s string) uint64 {
	id, ok := b.strings[s]
	if !ok {
		id = uint64(len(b.table))
		b.strings[s] = id
		b.table = append(b.table, s)
	}
	return id
}

func (b *proto) msg(num uint64, m []byte) { b.out = bytesField(b.out, num, m) }

func (b *proto) finish(now time.Time) []byte {
	b.out = field(b.out, 9, uint64(now.UnixNano())) // time_nanos
	b.msg(11, b.valueType("handles", "count"))      // period_type
	b.out = field(b.out, 12, 1)                     // period
	for _, s := range b.table {
		b.msg(6, []byte(s)) // string_table
	}
	return b.out
}

func field(m []byte, num, v uint64) []byte { return varint(varint(m, num<<3), v) }

func bytesField(m []byte, num uint64, p []byte) []byte {
	return append(varint(varint(m, num<<3|2), uint64(len(p))), p...)
}

func varint(m []byte, v uint64) []byte {
	for v >= 0x80 {
		m = append(m, byte(v)|0x80)
		v >>= 7
	}
	return append(m, byte(v))
}
