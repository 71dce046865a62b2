/* SPDX-License-Identifier: MIT */
/* Nothing of it is needed. */
#ifndef ORACLE_LINUX_FOLIO_QUEUE_H
#define ORACLE_LINUX_FOLIO_QUEUE_H



#endif
