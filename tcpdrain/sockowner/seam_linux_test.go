// SPDX-License-Identifier: MIT

package sockowner

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var (
	asked  = tuple{netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("198.51.100.9:99")}
	asked6 = tuple{netip.MustParseAddrPort("[fe80::7]:4711"), netip.MustParseAddrPort("[fe80::9]:99")}
	alice  = entry{tuple: asked, uid: 4001, inode: 77, state: FinWait1}
	bob    = entry{tuple: asked, uid: 4002, inode: 78, state: Established}
)

func with(e entry, change func(*entry)) entry { change(&e); return e }

func mapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

// TestAnswersOfNetlink has every answer the kernel, or somebody in its place, may give.
// /proc knows better in all of them: what it says shows whether it was asked.
func TestAnswersOfNetlink(t *testing.T) {
	t.Parallel()
	listener := with(alice, func(e *entry) { e.remote = netip.MustParseAddrPort("0.0.0.0:0"); e.state = Listen })
	lo, eth0 := net.Interface{Index: 1, Name: "lo"}, net.Interface{Index: 2, Name: "eth0"}
	on := func(device uint32, e entry) entry { e.device = device; return e }
	fromProc := bob

	for name, tc := range map[string]struct {
		fake fake
		q    tuple  // default: asked
		zone string // default: none
		want entry  // the zero entry: none
		err  error
	}{
		"the connection":         {fake: fake{replies: []reply{has(alice)}}, want: alice},
		"as an IPv6 socket's":    {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.local, e.remote = mapped(e.local), mapped(e.remote) }))}}, want: alice}, // G34
		"in TIME_WAIT":           {fake: fake{replies: []reply{has(entry{tuple: asked, state: TimeWait})}}, err: ErrNoOwner},                                              // G36
		"root's orphan":          {fake: fake{replies: []reply{has(entry{tuple: asked, state: FinWait1})}}, err: ErrNoOwner},                                              // G36
		"an orphan's user":       {fake: fake{replies: []reply{has(entry{tuple: asked, state: FinWait1, uid: 5})}}, want: entry{tuple: asked, state: FinWait1, uid: 5}},   // G36
		"root":                   {fake: fake{replies: []reply{has(entry{tuple: asked, inode: 3, state: Established})}}, want: entry{tuple: asked, inode: 3, state: Established}},
		"the listener":           {fake: fake{replies: []reply{has(listener)}}, err: ErrNotFound},                                               // G35
		"a listener with a name": {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.state = Listen }))}}, err: ErrNotFound},       // G35
		"another remote port":    {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.remote = asked.local }))}}, err: ErrNotFound}, // G35
		"the other end":          {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.local, e.remote = e.remote, e.local }))}}, err: ErrNotFound},
		"no such socket":         {fake: fake{replies: []reply{errno(unix.ENOENT), done(0)}}, err: ErrNotFound},
		"no handler":             {fake: fake{replies: []reply{errno(unix.ENOENT), errno(unix.ENOENT)}}, want: fromProc},
		"no handler, late":       {fake: fake{replies: []reply{errno(unix.ENOENT), done(unix.ENOENT)}}, want: fromProc},

		"bound to eth0":        {fake: fake{replies: []reply{errno(unix.ENOENT), done(0), errno(unix.ENOENT), has(on(2, alice))}, links: []net.Interface{lo, eth0}}, want: alice},
		"listener, then eth0":  {fake: fake{replies: []reply{has(listener), has(listener), has(on(2, alice))}, links: []net.Interface{lo, eth0}}, want: alice},
		"bound to two devices": {fake: fake{replies: []reply{errno(unix.ENOENT), done(0), has(on(1, alice)), has(on(2, bob))}, links: []net.Interface{lo, eth0}}, err: ErrAmbiguous},
		"interfaces denied":    {fake: fake{replies: []reply{has(listener)}, linksErr: unix.EPERM}, want: fromProc},
		"devices denied":       {fake: fake{replies: []reply{has(listener), errno(unix.EPERM)}, links: []net.Interface{lo}}, want: fromProc},

		"by zone":            {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.tuple = asked6; e.device = 2 }))}, links: []net.Interface{lo, eth0}}, q: asked6, zone: "eth0", want: with(alice, func(e *entry) { e.tuple = asked6 })},
		"by numeric zone":    {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.tuple = asked6; e.device = 2 }))}}, q: asked6, zone: "2", want: with(alice, func(e *entry) { e.tuple = asked6 })},
		"another zone":       {fake: fake{replies: []reply{has(with(alice, func(e *entry) { e.tuple = asked6; e.device = 3 }))}}, q: asked6, zone: "2", err: ErrNotFound},
		"not in that zone":   {fake: fake{replies: []reply{errno(unix.ENOENT), done(0)}, links: []net.Interface{lo, eth0}}, q: asked6, zone: "eth0", err: ErrNotFound},
		"a zone, but denied": {fake: fake{socket: []error{unix.EPERM}}, q: asked6, zone: "2", err: unix.EPERM},
		"zones unknown":      {fake: fake{linksErr: unix.EMFILE}, q: asked6, zone: "eth0", err: unix.EMFILE},

		"socket denied":        {fake: fake{socket: []error{unix.EPERM}}, want: fromProc},
		"family forbidden":     {fake: fake{socket: []error{unix.EAFNOSUPPORT}}, want: fromProc},
		"no sock_diag":         {fake: fake{socket: []error{unix.EPROTONOSUPPORT}}, want: fromProc},
		"send denied":          {fake: fake{send: []error{unix.EACCES}}, want: fromProc},
		"recv fails":           {fake: fake{replies: []reply{fails(unix.ENOBUFS)}}, want: fromProc},
		"poll fails":           {fake: fake{wait: []error{unix.ENOMEM}}, want: fromProc},
		"answer: denied":       {fake: fake{replies: []reply{errno(unix.EPERM)}}, want: fromProc},
		"answer: success":      {fake: fake{replies: []reply{errno(0)}}, want: fromProc},
		"answer: done":         {fake: fake{replies: []reply{done(0)}}, want: fromProc},
		"probe denied":         {fake: fake{replies: []reply{errno(unix.ENOENT), errno(unix.EPERM)}}, want: fromProc},
		"cut within the row":   {fake: fake{replies: []reply{cut(60, has(alice))}}, want: fromProc},
		"cut within the head":  {fake: fake{replies: []reply{cut(7, has(alice))}}, want: fromProc},
		"longer than asked":    {fake: fake{replies: []reply{func(seq uint32) ([]byte, uint32, error) { return wire(20, seq, make([]byte, 2000)), 0, nil }}}, want: fromProc},
		"an unknown type":      {fake: fake{replies: []reply{func(seq uint32) ([]byte, uint32, error) { return wire(99, seq, make([]byte, 100)), 0, nil }}}, want: fromProc},
		"an unknown family":    {fake: fake{replies: []reply{func(seq uint32) ([]byte, uint32, error) { return wire(20, seq, make([]byte, 72)), 0, nil }}}, want: fromProc},
		"a stale answer first": {fake: fake{replies: []reply{late(has(bob)), late(errno(unix.ENOENT)), has(alice)}}, want: alice}, // G38
		"a forged one first":   {fake: fake{replies: []reply{forged(has(bob)), has(alice)}}, want: alice},
		"an empty one first":   {fake: fake{replies: []reply{func(uint32) ([]byte, uint32, error) { return nil, 0, nil }, has(alice)}}, want: alice},
		"EINTR everywhere": {fake: fake{send: []error{unix.EINTR, unix.EINTR, nil}, wait: []error{unix.EINTR},
			replies: []reply{fails(unix.EINTR), fails(unix.EAGAIN), fails(unix.EINTR), has(alice)}}, want: alice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, q := tc.fake, tc.q
				if q == (tuple{}) {
					q = asked
				}
				f.tables = []map[string]string{{"tcp": table(fromProc), "tcp6": table()}}
				got, err := f.system(t).lookup(q, tc.zone)
				want := Owner{tc.want.uid, tc.want.inode, tc.want.state}
				if !errors.Is(err, tc.err) || tc.err == nil && got != want {
					t.Errorf("lookup = %+v, %v, want %+v, %v", got, err, want, tc.err)
				}
				if asked := len(f.tablesRead) > 0; asked != (tc.want == fromProc) {
					t.Errorf("/proc was read: %v", f.tablesRead)
				}
			})
		})
	}
}

// TestQuestions looks at what is sent: exact queries, one sequence number each.
func TestQuestions(t *testing.T) {
	t.Parallel()
	f := fake{
		replies: []reply{errno(unix.ENOENT), done(0), errno(unix.ENOENT), errno(unix.ENOENT)},
		links:   []net.Interface{{Index: 1}, {Index: 7}},
	}
	if _, err := f.system(t).lookup(asked, ""); !errors.Is(err, ErrNotFound) {
		t.Fatalf("lookup: %v", err)
	}
	const exact, dump, all = unix.NLM_F_REQUEST, unix.NLM_F_REQUEST | unix.NLM_F_DUMP, ^uint32(0)
	for i, want := range []request{
		{asked, 0, exact, all, 1}, {asked, 0, dump, 0, 2}, {asked, 1, exact, all, 3}, {asked, 7, exact, all, 4},
	} {
		if i >= len(f.requests) || f.requests[i] != want {
			t.Fatalf("questions %+v, want number %d to be %+v", f.requests, i, want)
		}
	}
}

// TestPatienceIsBounded: nobody answers, or somebody answers something else, for ever.
func TestPatienceIsBounded(t *testing.T) {
	t.Parallel()
	stale := func(uint32) ([]byte, uint32, error) { time.Sleep(10 * time.Millisecond); return late(has(bob))(0) }
	for name, prepare := range map[string]func(f *fake){
		"silence": func(*fake) {},
		"only EINTR": func(f *fake) {
			f.onCall = func(string) { time.Sleep(10 * time.Millisecond); f.send = []error{unix.EINTR} }
		},
		"stale floods": func(f *fake) { f.onCall = func(string) { f.replies = []reply{stale} } },
		"other floods": func(f *fake) { f.onCall = func(string) { f.replies = []reply{forged(stale)} } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var f fake
				prepare(&f)
				start := time.Now()
				_, err := f.system(t).lookup(asked, "")
				if took := time.Since(start); took < patience || took > patience+50*time.Millisecond {
					t.Errorf("gave up after %v, want %v", took, patience)
				}
				if !errors.Is(err, fs.ErrPermission) || !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.EINTR) {
					t.Errorf("lookup = %v, want both reasons", err)
				}
			})
		})
	}
}

// TestTables has netlink denied, and the tables in all forms.
func TestTables(t *testing.T) {
	t.Parallel()
	alice6 := with(alice, func(e *entry) { e.local, e.remote = mapped(e.local), mapped(e.remote) })
	ll := with(alice, func(e *entry) { e.tuple = asked6 })
	listener := with(bob, func(e *entry) { e.remote = netip.MustParseAddrPort("0.0.0.0:0"); e.state = Listen })
	other := with(bob, func(e *entry) { e.local = netip.MustParseAddrPort("192.0.2.7:1") })
	closing := with(alice, func(e *entry) { e.state = Closing })
	for name, tc := range map[string]struct {
		tables []map[string]string
		q      tuple
		want   entry
		err    error
	}{
		"IPv4":               {tables: []map[string]string{{"tcp": table(other, listener, alice), "tcp6": table()}}, want: alice},
		"IPv4-mapped":        {tables: []map[string]string{{"tcp": table(other), "tcp6": table(ll, alice6)}}, want: alice},
		"IPv6":               {tables: []map[string]string{{"tcp6": table(alice6, ll)}}, q: asked6, want: ll},
		"IPv6 is off":        {tables: []map[string]string{{"tcp": table(alice)}}, want: alice},
		"IPv6 is off, asked": {tables: []map[string]string{{"tcp": table(alice)}}, q: asked6, err: fs.ErrNotExist},
		"no tables":          {err: fs.ErrPermission},
		"nobody":             {tables: []map[string]string{{"tcp": table(other, listener), "tcp6": table()}}, err: ErrNotFound},
		"TIME_WAIT":          {tables: []map[string]string{{"tcp": table(entry{tuple: asked, state: TimeWait}), "tcp6": table()}}, err: ErrNoOwner},
		"seen twice, moving": {tables: []map[string]string{{"tcp": table(alice, closing), "tcp6": table()}}, want: closing},
		"two of them":        {tables: []map[string]string{{"tcp": table(alice), "tcp6": table(with(bob, func(e *entry) { e.local, e.remote = alice6.local, alice6.remote }))}}, err: ErrAmbiguous},
		"passed over once":   {tables: []map[string]string{{"tcp": table(other), "tcp6": table()}, {"tcp": table(alice), "tcp6": table()}}, want: alice},
		"torn":               {tables: []map[string]string{{"tcp": table(other) + row(alice)[:40], "tcp6": table()}}, err: errMalformed},
		"a line without end": {tables: []map[string]string{{"tcp": table(other) + string(make([]byte, 1<<20)), "tcp6": table()}}, err: bufio.ErrTooLong},
		"without headings":   {tables: []map[string]string{{"tcp": row(alice)}}, err: errMalformed},
		"empty":              {tables: []map[string]string{{"tcp": ""}}, err: errMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake{socket: []error{unix.EPERM}, tables: tc.tables}
			q := tc.q
			if q == (tuple{}) {
				q = asked
			}
			got, err := f.system(t).lookup(q, "")
			want := Owner{tc.want.uid, tc.want.inode, tc.want.state}
			if !errors.Is(err, tc.err) || tc.err == nil && got != want {
				t.Errorf("lookup = %+v, %v, want %+v, %v", got, err, want, tc.err)
			}
			if answered := err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoOwner) || errors.Is(err, ErrAmbiguous); !answered && !errors.Is(err, unix.EPERM) {
				t.Errorf("%v does not say why netlink did not answer", err)
			}
		})
	}
}
