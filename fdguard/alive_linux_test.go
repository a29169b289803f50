// SPDX-License-Identifier: MIT

package fdguard

func probeOpenForTest() int { return probeOpen() }
