// SPDX-License-Identifier: MIT

#include "textflag.h"

// func framePCs(pcs *[16]uintptr) (n int, whole bool)
TEXT ·framePCs(SB), NOSPLIT|NOFRAME, $0-17
	MOVD pcs+0(FP), R0
	MOVD R29, R1  // the frame whose return address is next
	MOVD RSP, R2
	LSR  $22, R2  // the 4 MiB that are sure to be mapped
	MOVD $0, R3
	MOVB ZR, whole+16(FP)

loop:
	CBZ  R1, end
	CMP  $16, R3
	BGE  end
	LSR  $22, R1, R4
	CMP  R4, R2
	BNE  stop
	AND  $7, R1, R5
	CBNZ R5, stop
	MOVD 8(R1), R6
	MOVD R6, (R0)(R3<<3)
	ADD  $1, R3
	MOVD (R1), R7
	CBZ  R7, end
	CMP  R1, R7
	BLS  stop // must lead outwards
	MOVD R7, R1
	B    loop

end:
	MOVD $1, R8
	MOVB R8, whole+16(FP)

stop:
	MOVD R3, n+8(FP)
	RET
