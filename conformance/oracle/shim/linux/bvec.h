/* SPDX-License-Identifier: MIT */
/* Nothing of it is needed. */
#ifndef ORACLE_LINUX_BVEC_H
#define ORACLE_LINUX_BVEC_H



#endif
