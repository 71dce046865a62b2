/* SPDX-License-Identifier: MIT */
/* What the kernel asks of a C compiler. */
#ifndef DMA_CONFORMANCE_LINUX_COMPILER_H
#define DMA_CONFORMANCE_LINUX_COMPILER_H

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ __volatile__("" : : : "memory")
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define noinline __attribute__((noinline))
#define __must_check __attribute__((warn_unused_result))
#define __maybe_unused __attribute__((unused))
#define __always_unused __attribute__((unused))
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define __cold __attribute__((cold))
#define __pure __attribute__((pure))
#define __weak __attribute__((weak))
#define fallthrough __attribute__((fallthrough))
#define __read_mostly
#define __iomem
#define __user
#define __force
#define __bitwise
#define __rcu
#define __percpu
#define __acquires(x)
#define __releases(x)

#endif
