/*
 * The seam to the world: where time and chance come from. The real one reads the system's clocks and entropy; the
 * simulator's is virtual time and a seed. Nothing else under runtime/ or actors/ asks for time or chance.
 *
 * Thread: any.    Blocks: never.
 */
#ifndef WEIR_RUNTIME_SEAM_H
#define WEIR_RUNTIME_SEAM_H

#include <stdint.h>

struct weir_seam {
    uint64_t (*now_ns)(const struct weir_seam *seam); /* monotonic */
    int64_t (*wall_ms)(const struct weir_seam *seam); /* since the Unix epoch */
    uint64_t (*entropy)(const struct weir_seam *seam);
};

const struct weir_seam *weir_seam_system(void);

#endif
