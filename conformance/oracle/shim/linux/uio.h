/* SPDX-License-Identifier: MIT */
/* Nothing of it is needed. */
#ifndef ORACLE_LINUX_UIO_H
#define ORACLE_LINUX_UIO_H



#endif
