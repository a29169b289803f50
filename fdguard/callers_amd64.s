// SPDX-License-Identifier: MIT

#include "textflag.h"

// func framePCs(pcs *[16]uintptr) (n int, whole bool)
TEXT ·framePCs(SB), NOSPLIT|NOFRAME, $0-17
	MOVQ pcs+0(FP), DI
	MOVQ BP, SI  // the frame whose return address is next
	MOVQ SP, R8
	SHRQ $22, R8 // the 4 MiB that are sure to be mapped
	XORQ CX, CX
	MOVB $0, whole+16(FP)

loop:
	TESTQ SI, SI
	JZ    end
	CMPQ  CX, $16
	JGE   end
	MOVQ  SI, R9
	SHRQ  $22, R9
	CMPQ  R9, R8
	JNE   stop
	TESTQ $7, SI
	JNZ   stop
	MOVQ  8(SI), AX
	MOVQ  AX, (DI)(CX*8)
	INCQ  CX
	MOVQ  (SI), R10
	TESTQ R10, R10
	JZ    end
	CMPQ  R10, SI
	JLS   stop // must lead outwards
	MOVQ  R10, SI
	JMP   loop

end:
	MOVB $1, whole+16(FP)

stop:
	MOVQ CX, n+8(FP)
	RET
