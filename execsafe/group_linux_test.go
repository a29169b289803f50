// SPDX-License-Identifier: MIT

package execsafe

func countGroup(pgid int) int {
	n, err := groupMembers(pgid)
	if err != nil {
		panic(err)
	}
	return n
}
