// SPDX-License-Identifier: MIT

//go:build gc && unix && !purego

#include "textflag.h"

// func framePCs(pcs *[16]uintptr, from uintptr) (n int, whole bool)
TEXT ·framePCs(SB), NOSPLIT|NOFRAME, $0-25
	MOVD pcs+0(FP), R0
	MOVD from+8(FP), R1 // the frame whose return address is next
	CBNZ R1, begin
	MOVD R29, R1

begin:
	MOVD RSP, R2
	MOVD $0, R3
	MOVB ZR, whole+24(FP)

	// Each frame is above the last one's. R29 points to the word below the
	// frame it is for, so that the first can be just below SP.
	SUB $8, R2, R4
	CMP R4, R1
	BLO stop
	LSR $22, R2, R2 // the 4 MiB that are sure to be mapped

loop:
	ADD  $8, R1, R4
	LSR  $22, R4
	CMP  R4, R2
	BNE  stop
	AND  $7, R1, R5
	CBNZ R5, stop
	MOVD 8(R1), R6
	MOVD R6, (R0)(R3<<3)
	ADD  $1, R3
	MOVD (R1), R7
	CBZ  R7, end
	CMP  $16, R3
	BGE  end
	CMP  R1, R7
	BLS  stop
	MOVD R7, R1
	B    loop

end:
	MOVD $1, R8
	MOVB R8, whole+24(FP)

stop:
	MOVD R3, n+16(FP)
	RET
