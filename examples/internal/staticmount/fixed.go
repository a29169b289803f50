// SPDX-License-Identifier: MIT

package staticmount

import (
	"net/http"

	"github.com/seed-b08dbae9/sysprim/fdguard"
)

// guard is the same cast step with fdguard: wrapping what is wrapped gives the same
// handle, so it does not matter how often it is done, and one Close is enough.
func guard(f http.File) (http.File, error) {
	return fdguard.Wrap(f)
}
