// SPDX-License-Identifier: MIT

package fsrace

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-b08dbae9/sysprim/fsrace/internal/sys"
	"github.com/seed-b08dbae9/sysprim/fsrace/internal/systest"
)

// G45, G46: two lockers and one who replaces the file, in every order: never two
// holders of one file, and no record half written.
func TestInterleaveLockers(t *testing.T) {
	t.Parallel()
	limit := 5_000
	if testing.Short() {
		limit = 2_000
	}
	ran, err := systest.Interleave(limit, func() systest.Race {
		d := systest.NewDisk()
		holders, most := 0, 0
		var torn error
		locker := func(fs sys.FS) {
			l, err := tryAcquire(fs, "/lock")
			if err != nil {
				if _, held := errors.AsType[*HeldError](err); !held {
					torn = err
				}
				return
			}
			if l.Check() == nil {
				holders++
				most = max(most, holders)
				if o, ok, err := readRecord(fs, "/lock"); err != nil || !ok || o != l.Owner() {
					torn = fmt.Errorf("the holder's record reads %v, %t, %w", o, ok, err)
				}
				holders--
			}
			l.Release()
		}
		return systest.Race{FS: d, Actors: []func(sys.FS){locker, locker}, Check: func() error {
			if most > 1 {
				torn = errors.New("two hold the lock")
			}
			return torn
		}}
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}

// Without the looks at the lock in between, every order can be run: one of two gets
// the lock, and the other is told by whom it is held; and two who let go again never
// have it at the same time, and never get stuck.
func TestInterleaveEveryAcquire(t *testing.T) {
	t.Parallel()
	for name, release := range map[string]bool{"keep": false, "release": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := 500_000
			if release && testing.Short() {
				limit = 2_000
			}
			ran, err := systest.Interleave(limit, func() systest.Race {
				d := systest.NewDisk()
				var got []Owner
				var held []*HeldError
				var bad error
				holders := 0
				locker := func(fs sys.FS) {
					l, err := tryAcquire(fs, "/lock")
					if err != nil {
						h, ok := errors.AsType[*HeldError](err)
						if !ok {
							bad = err
						}
						held = append(held, h)
						return
					}
					if holders++; holders > 1 {
						bad = errors.New("two hold the lock")
					}
					got = append(got, l.Owner())
					if release {
						holders--
						l.Release()
					}
				}
				return systest.Race{FS: d, Actors: []func(sys.FS){locker, locker}, Check: func() error {
					switch {
					case bad != nil:
						return bad
					case len(got) == 0:
						return errors.New("nobody got the lock")
					case !release && (len(held) != 1 || held[0].Owner != got[0] && held[0].Owner != (Owner{})):
						return fmt.Errorf("%v has the lock, the other was told %v", got, held)
					}
					return nil
				}}
			})
			t.Logf("%d interleavings", ran)
			if err != nil {
				t.Error(err)
			}
			if ran == limit && !testing.Short() {
				t.Error("there are more")
			}
		})
	}
}

// A lock file that is replaced between opening and locking is opened again.
func TestInterleaveLockerAndReplacer(t *testing.T) {
	t.Parallel()
	ran, err := systest.Interleave(20_000, func() systest.Race {
		d := systest.NewDisk()
		touch(d)("/lock")
		touch(d)("/new")
		var err error
		return systest.Race{FS: d, Actors: []func(sys.FS){
			func(fs sys.FS) {
				var l *Lock
				if l, err = tryAcquire(fs, "/lock"); err == nil {
					if err = l.Check(); errors.Is(err, ErrLockLost) {
						err = nil // replaced after it was locked
					}
					l.Release()
				}
			},
			func(fs sys.FS) { fs.Rename("/new", "/lock"); fs.Unlink("/lock") },
		}, Check: func() error { return err }}
	})
	t.Logf("%d interleavings", ran)
	if err != nil {
		t.Error(err)
	}
}

// G50, G51: each errno at each call gives that error or a lock that is held for
// good; a file system without locks gives ErrNoLocks, and never success.
func TestEachErrnoOfLock(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{
		syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EIO, syscall.EACCES, syscall.ENOSPC, syscall.ENOENT, syscall.ESTALE,
	} {
		for _, executed := range []bool{false, true} {
			calls, err := systest.EachCall(func(n int) (bool, error) {
				d := systest.NewDisk()
				faulty, hit := systest.Inject(d, n, systest.Fault{Err: errno, Executed: executed})
				l, err := tryAcquire(faulty, "/a/lock")
				call, ok := hit()
				if err != nil {
					noLocks := call.Op == "trylock" && (errno == syscall.ENOLCK || errors.Is(errno, errors.ErrUnsupported))
					if !errors.Is(err, errno) || errors.Is(err, ErrNoLocks) != noLocks || noLocks && !errors.Is(err, errors.ErrUnsupported) {
						return ok, fmt.Errorf("%v: %w", call, err)
					}
					// Nothing stays locked.
					if l, err = tryAcquire(d, "/a/lock"); err != nil {
						return ok, fmt.Errorf("after %v: %w", call, err)
					}
				}
				if _, err := tryAcquire(d, "/a/lock"); err == nil {
					return ok, fmt.Errorf("%v: two hold the lock", call)
				}
				l.Release() // the fault may befall this call
				return ok, nil
			})
			if err != nil || calls == 0 {
				t.Errorf("%v executed=%t: %v", errno, executed, err)
			}
		}
	}
}

// A record that was cut short or damaged is none.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	l, err := tryAcquire(d, "/lock")
	if err != nil {
		t.Fatal(err)
	}
	whole := d.Files()["/lock"]
	for cut := range len(whole) {
		f, _ := d.Open("/lock", os.O_WRONLY|os.O_TRUNC, 0)
		f.Write([]byte(whole[:cut]))
		f.Close()
		if o, ok, err := readRecord(d, "/lock"); ok || err != nil {
			t.Fatalf("of %q was read %v, %v", whole[:cut], o, err)
		}
	}
	f, _ := d.Open("/lock", os.O_WRONLY|os.O_TRUNC, 0)
	f.Write([]byte(strings.Replace(whole, "pid=", "pid=1", 1)))
	if _, ok, _ := readRecord(d, "/lock"); ok {
		t.Error("a record of two halves was read")
	}
	f.WriteAt([]byte(whole+"rest of an older, longer one"), 0)
	f.Close()
	if o, ok, _ := readRecord(d, "/lock"); !ok || o != l.Owner() {
		t.Error("a whole record was not read for what follows it")
	}
	l.Release()
}

// G46: the file of a holder that was killed is written over, and nothing of the old
// record stays, however long it was.
func TestLongerRecordIsCutOff(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	f, _ := d.Open("/lock", os.O_WRONLY|os.O_CREATE, 0o644)
	f.Write([]byte(strings.Repeat("an older, longer record\n", 100)))
	f.Close()
	l, err := tryAcquire(d, "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if got := d.Files()["/lock"]; strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, l.Owner().String()+" ") {
		t.Errorf("the file holds %.400q", got)
	}
}

// G45: what is replaced between opening and locking is not what gets locked.
func TestLockOfReplacedFile(t *testing.T) {
	t.Parallel()
	d := systest.NewDisk()
	touch(d)("/lock")
	touch(d)("/new")
	calls := systest.Wrap(d, func(c systest.Call, do func() error) error {
		if c.Op == "trylock" {
			d.Rename("/new", "/lock") // fails the second time: there is no /new
		}
		return do()
	})
	l, err := tryAcquire(calls, "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	if _, err := tryAcquire(d, "/lock"); err == nil {
		t.Error("two hold the lock")
	}
}
