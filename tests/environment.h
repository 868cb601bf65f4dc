/* SPDX-License-Identifier: GPL-2.0 */
#ifndef HW_BREAKPOINT_ENVIRONMENT_H
#define HW_BREAKPOINT_ENVIRONMENT_H

const char *environment(void);

#endif /* HW_BREAKPOINT_ENVIRONMENT_H */
