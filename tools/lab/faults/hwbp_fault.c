// SPDX-License-Identifier: GPL-2.0
/*
 * Choose one fault of the list: with hwbp_fault=NAME on the kernel's command
 * line, or by writing NAME or "none" to /proc/hwbp_fault. Reading that file
 * gives a line for each fault: name, how often its site was reached since the
 * last choice, 1 if it is active. apply.sh puts this file into a kernel source
 * tree.
 */
#include <linux/cpuhotplug.h>
#include <linux/export.h>
#include <linux/hwbp_fault.h>
#include <linux/init.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>

unsigned int hwbp_fault_active;
EXPORT_SYMBOL_GPL(hwbp_fault_active);
unsigned long hwbp_fault_reached[HWBP_NR];
EXPORT_SYMBOL_GPL(hwbp_fault_reached);
bool hwbp_fault_eat;

static const char * const names[HWBP_NR] = {
	"none",
#define HWBP_FAULT(name) #name
#include <linux/hwbp_fault_list.h>
#undef HWBP_FAULT
};

static int choose(const char *name)
{
	int id = match_string(names, HWBP_NR, name);

	if (id < 0) {
		pr_err("hwbp_fault: unknown fault: %s\n", name);
		return -EINVAL;
	}
	WRITE_ONCE(hwbp_fault_active, HWBP_none);
	memset(hwbp_fault_reached, 0, sizeof(hwbp_fault_reached));
	hwbp_fault_eat = false;
	WRITE_ONCE(hwbp_fault_active, id);
	pr_info("hwbp_fault: %s\n", name);
	return 0;
}

static int __init choose_at_boot(char *name)
{
	choose(name);
	return 1;
}
__setup("hwbp_fault=", choose_at_boot);

static int show(struct seq_file *m, void *v)
{
	int id;

	for (id = HWBP_none + 1; id < HWBP_NR; id++)
		seq_printf(m, "%s %lu %d\n", names[id], hwbp_fault_reached[id],
			   id == hwbp_fault_active);
	return 0;
}

static int open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static ssize_t write(struct file *file, const char __user *from, size_t size,
		     loff_t *pos)
{
	char name[64];
	int rc;

	if (size >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, from, size))
		return -EFAULT;
	name[size] = '\0';
	rc = choose(strim(name));
	return rc ? rc : size;
}

static const struct proc_ops ops = {
	.proc_open	= open,
	.proc_read	= seq_read,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
	.proc_write	= write,
};

/*
 * A switch from one thread with breakpoints to another with breakpoints: the
 * uninstalling of the one and the installing of the other fall into one and
 * the same context switch of this CPU.
 */
static DEFINE_PER_CPU(unsigned int, switches);
static DEFINE_PER_CPU(unsigned int, uninstalled_at);
static DEFINE_PER_CPU(struct task_struct *, uninstalled_of);

void hwbp_fault_note_switch(void)
{
	this_cpu_inc(switches);
}

void hwbp_fault_note_uninstall(struct task_struct *task)
{
	this_cpu_write(uninstalled_at, this_cpu_read(switches));
	this_cpu_write(uninstalled_of, task);
}

bool hwbp_fault_direct_switch(struct task_struct *task)
{
	struct task_struct *old = this_cpu_read(uninstalled_of);

	return old && task && old != task &&
	       this_cpu_read(uninstalled_at) == this_cpu_read(switches);
}

/* Whether this CPU was taken down and brought up again since boot. */
static DEFINE_PER_CPU(unsigned int, onlined);
static bool booted;

bool hwbp_fault_cpu_replugged(void)
{
	return this_cpu_read(onlined);
}

static int online(unsigned int cpu)
{
	if (booted)
		per_cpu(onlined, cpu)++;
	return 0;
}

static int __init hwbp_fault_init(void)
{
	int rc;

	rc = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "hwbp_fault:online",
			       online, NULL);
	if (rc < 0)
		return rc;
	booted = true;
	return proc_create("hwbp_fault", 0644, NULL, &ops) ? 0 : -ENOMEM;
}
late_initcall(hwbp_fault_init);
