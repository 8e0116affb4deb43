# What an ordinary guest does at its start, in small: real mode, protected mode,
# long mode with paging, cpuid, an MSR, SSE, the stack, an exception and back.
# It is loaded at 0x1000 and started there in real mode. The host leaves a
# number in the doubleword at 0x9000; the answer goes out by port 0xf4, and depends on
# the number and on each step. Then it halts.
#
#   as -o guest.o guest.S && objcopy -O binary -j .text guest.o ../guest_amd64.bin

	.set	base, 0x1000
	.set	pml4, 0x2000
	.set	pdpt, 0x3000
	.set	pd,   0x4000
	.set	idt,  0x5000
	.set	stack, 0x8000
	.set	number, 0x9000

	.code16
start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	base + (gdtr - start)
	movl	%cr0, %eax
	orl	$1, %eax			# PE
	movl	%eax, %cr0
	ljmpl	$0x08, $(base + (protected - start))

	.code32
protected:
	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$stack, %esp
	movl	$(pdpt + 3), pml4		# present, writable
	movl	$(pd + 3), pdpt
	movl	$0x83, pd			# 2 MiB from 0 on
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x620, %eax			# PAE, OSFXSR, OSXMMEXCPT
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx		# EFER
	rdmsr
	orl	$0x100, %eax			# LME
	wrmsr
	movl	%cr0, %eax
	andl	$~4, %eax			# not EM
	orl	$0x80000002, %eax		# PG, MP
	movl	%eax, %cr0
	ljmp	$0x18, $(base + (long - start))

	.code64
long:
	movl	number, %r12d			# the answer grows from here
	movl	$0xc0000080, %ecx
	rdmsr
	andl	$0x400, %eax			# LMA: the processor says that it is so
	addl	%eax, %r12d			# + 0x400
	xorl	%eax, %eax
	cpuid					# a vendor that is not empty
	orl	%ecx, %ebx
	orl	%edx, %ebx
	negl	%ebx				# carry unless it was 0
	sbbl	%eax, %eax			# all ones if carry
	andl	$0x20000, %eax
	addl	%eax, %r12d			# + 0x20000
	movd	%r12d, %xmm0
	paddd	%xmm0, %xmm0			# times 2
	movd	%xmm0, %r12d
	movabsq	$0x0000ee0000180000, %rax	# gate: code 0x18, present interrupt gate
	movl	$(base + (trap - start)), %ebx
	orq	%rbx, %rax
	movq	%rax, idt + 3*16		# vector 3: breakpoint
	movq	$0, idt + 3*16 + 8
	lidt	base + (idtr - start)
	int3					# + 0x5000000
	call	twice
	movl	%r12d, %eax
	movw	$0xf4, %dx
	outl	%eax, %dx
	hlt

trap:
	addl	$0x5000000, %r12d
	iretq

twice:
	pushq	%r12
	addl	(%rsp), %r12d
	popq	%rbx
	ret

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9a000000ffff		# 0x08 code, 32 bits
	.quad	0x00cf92000000ffff		# 0x10 data
	.quad	0x00af9a000000ffff		# 0x18 code, 64 bits
gdtr:
	.word	. - gdt - 1
	.long	base + (gdt - start)
idtr:
	.word	4*16 - 1
	.quad	idt
