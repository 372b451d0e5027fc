/* Matrix products by oneDNN (https://oneapi-src.github.io/oneDNN/v2.6/). Called from inside the step's threads, one thread each. */
#include "kernels/kernels.h"

#ifdef QUERN_HAVE_ONEDNN
#include <dnnl.h>
#include <omp.h>

int quern__gemm_onednn(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                       float *c, int64_t ldc)
{
    dnnl_status_t status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1, a, lda, b, ldb, 0, c, ldc);
    return status == dnnl_success ? 0 : status == dnnl_out_of_memory ? QUERN_NOMEM : QUERN_INTERNAL;
}

/* AVX2 is as fast as AVX-512 for these products and its kernels are generated in a third of the time and half the memory; a choice
 * that the user made by DNNL_MAX_CPU_ISA stays, because oneDNN refuses the call then. */
void quern__kernels_thread_start(void)
{
    omp_set_num_threads(1);
    dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
}

#else

int quern__gemm_onednn(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                       float *c, int64_t ldc)
{
    return quern__gemm_plain(ta, tb, m, n, k, a, lda, b, ldb, c, ldc);
}

void quern__kernels_thread_start(void) {}

#endif
