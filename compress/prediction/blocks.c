/* A plugin of QEMU's user mode: how often each basic block ran between marks.
 *
 * The guest marks a section by close(0x7ab10001), which begins it, and
 * close(0x7ab10002), which ends it; no such file is open, so nothing else happens.
 * Within a section every call of clock_gettime ends a lap: interpreters read the clock
 * between operators while they profile themselves. Written is, line by line,
 *
 *   section                        a section began
 *   lap STAMP BLOCK:RUNS ...       the blocks that ran since the last lap; STAMP is
 *                                  the clock (ns) just before the guest reads it
 *   usage                          memory was asked for (getrusage) after that lap
 *   end BLOCK:RUNS ...             the rest of a section
 *   block BLOCK WORD ...           instructions of a block, hexadecimal, once each
 *
 * Compile: cc -shared -fPIC -O2. It declares the few functions of QEMU's plugin
 * interface (version 1, QEMU 4.2 to 9) that it needs, since no distribution packages
 * the header. Counters are not atomic: the guest runs one thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x7ab10000u
enum { CLOSE = 57, CLOCK_GETTIME = 113, GETRUSAGE = 165 }; /* system calls of arm64 */
enum { INLINE_ADD_U64 = 0 };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_system_call)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t);
EXPORT int qemu_plugin_version = 1;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *,
                                              uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_system_call);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

struct block {
    uint64_t runs;
    uint32_t number, length;
    uint32_t *words;
    struct block *next;
};
static struct block *blocks;
static uint32_t count;
static bool inside;
static FILE *out;

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *found = calloc(1, sizeof *found);
    found->length = qemu_plugin_tb_n_insns(tb);
    found->words = calloc(found->length, sizeof *found->words);
    if (!found->words) abort();
    for (uint32_t i = 0; i < found->length; i++)
        memcpy(found->words + i, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)),
               sizeof *found->words);
    found->number = count++;
    found->next = blocks;
    blocks = found;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &found->runs, 1);
}

static void flush_counts(bool write) {
    for (struct block *each = blocks; each; each = each->next) {
        if (each->runs && write)
            fprintf(out, " %u:%llu", each->number, (unsigned long long)each->runs);
        each->runs = 0;
    }
    if (write) fputc('\n', out);
}

static void write_blocks(void) {
    static uint32_t written; /* the newest come first in the list */
    for (struct block *each = blocks; each && each->number >= written;
         each = each->next) {
        fprintf(out, "block %u", each->number);
        for (uint32_t i = 0; i < each->length; i++) fprintf(out, " %08x", each->words[i]);
        fputc('\n', out);
    }
    written = count;
    fflush(out);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t first,
                   uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                   uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == CLOSE && (uint32_t)first == MARK + 1) {
        fputs("section\n", out);
        flush_counts(false);
        inside = true;
    } else if (number == CLOSE && (uint32_t)first == MARK + 2) {
        fputs("end", out);
        flush_counts(true);
        inside = false;
        write_blocks();
    } else if (inside && number == CLOCK_GETTIME) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        fprintf(out, "lap %lld%09ld", (long long)now.tv_sec, now.tv_nsec);
        flush_counts(true);
    } else if (inside && number == GETRUSAGE) {
        fputs("usage\n", out);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc,
                               char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
    if (!out) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
