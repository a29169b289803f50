// SPDX-License-Identifier: MIT

//go:build gc && unix && !purego

#include "textflag.h"

// func framePCs(pcs *[16]uintptr, from uintptr) (n int, whole bool)
TEXT ·framePCs(SB), NOSPLIT|NOFRAME, $0-25
	MOVQ  pcs+0(FP), DI
	MOVQ  from+8(FP), SI // the frame whose return address is next
	TESTQ SI, SI
	JNZ   begin
	MOVQ  BP, SI

begin:
	MOVQ SP, R8
	SHRQ $22, R8 // the 4 MiB that are sure to be mapped
	XORQ CX, CX
	MOVB $0, whole+24(FP)

	// Each frame is above the last one's; the first is above SP.
	CMPQ SI, SP
	JLS  stop

loop:
	LEAQ  8(SI), R9
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
	CMPQ  CX, $16
	JGE   end
	CMPQ  R10, SI
	JLS   stop
	MOVQ  R10, SI
	JMP   loop

end:
	MOVB $1, whole+24(FP)

stop:
	MOVQ CX, n+16(FP)
	RET
