/* SPDX-License-Identifier: MIT */
/* Memory is not encrypted. */
#ifndef BENCHMARKS_LINUX_MEM_ENCRYPT_H
#define BENCHMARKS_LINUX_MEM_ENCRYPT_H

#define __sme_set(x) (x)
#define __sme_clr(x) (x)
#define cc_platform_has(x) false

#endif
