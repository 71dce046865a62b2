/* SPDX-License-Identifier: MIT */
/* struct bio_vec and its iterators. */
#ifndef DMA_CONFORMANCE_LINUX_BVEC_H
#define DMA_CONFORMANCE_LINUX_BVEC_H

#include <linux/highmem.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/types.h>

static inline void bvec_set_page(struct bio_vec *bv, struct page *page, unsigned int len, unsigned int offset)
{
	bv->bv_page = page;
	bv->bv_len = len;
	bv->bv_offset = offset;
}

/* 6.12: of an address of the linear map. */
static inline void bvec_set_virt(struct bio_vec *bv, void *vaddr, unsigned int len)
{
	bvec_set_page(bv, virt_to_page(vaddr), len, offset_in_page(vaddr));
}

static inline phys_addr_t bvec_phys(const struct bio_vec *bv)
{
	return page_to_phys(bv->bv_page) + bv->bv_offset;
}

static inline void *bvec_virt(const struct bio_vec *bv)
{
	return (char *)page_address(bv->bv_page) + bv->bv_offset;
}

#define bvec_kmap_local(bv) bvec_virt(bv)

static inline void memcpy_from_bvec(char *to, const struct bio_vec *bv)
{
	memcpy(to, bvec_virt(bv), bv->bv_len);
}

static inline void memcpy_to_bvec(const struct bio_vec *bv, const char *from)
{
	memcpy(bvec_virt(bv), from, bv->bv_len);
}

static inline void memzero_bvec(const struct bio_vec *bv)
{
	memset(bvec_virt(bv), 0, bv->bv_len);
}

/* what is left of the current entry, across pages */
#define mp_bvec_iter_page(bvec, iter) ((bvec)[(iter).bi_idx].bv_page)
#define mp_bvec_iter_len(bvec, iter) \
	min_t(unsigned int, (iter).bi_size, (bvec)[(iter).bi_idx].bv_len - (iter).bi_bvec_done)
#define mp_bvec_iter_offset(bvec, iter) ((bvec)[(iter).bi_idx].bv_offset + (iter).bi_bvec_done)
#define mp_bvec_iter_page_idx(bvec, iter) (mp_bvec_iter_offset(bvec, iter) / PAGE_SIZE)
#define mp_bvec_iter_bvec(bvec, iter) \
	((struct bio_vec){ mp_bvec_iter_page(bvec, iter), mp_bvec_iter_len(bvec, iter), \
			   mp_bvec_iter_offset(bvec, iter) })

/* what is left of the current page */
#define bvec_iter_offset(bvec, iter) ((unsigned int)(mp_bvec_iter_offset(bvec, iter) % PAGE_SIZE))
#define bvec_iter_len(bvec, iter) \
	min_t(unsigned int, mp_bvec_iter_len(bvec, iter), PAGE_SIZE - bvec_iter_offset(bvec, iter))
#define bvec_iter_page(bvec, iter) nth_page(mp_bvec_iter_page(bvec, iter), mp_bvec_iter_page_idx(bvec, iter))
#define bvec_iter_bvec(bvec, iter) \
	((struct bio_vec){ bvec_iter_page(bvec, iter), bvec_iter_len(bvec, iter), bvec_iter_offset(bvec, iter) })

/* False, with nothing left, for more bytes than there are. Zero-length entries are passed while bytes remain. */
static inline bool bvec_iter_advance(const struct bio_vec *bv, struct bvec_iter *iter, unsigned int bytes)
{
	if (WARN_ON_ONCE(bytes > iter->bi_size)) {
		iter->bi_size = 0;
		return false;
	}
	iter->bi_size -= bytes;
	for (bytes += iter->bi_bvec_done; bytes && bytes >= bv[iter->bi_idx].bv_len; iter->bi_idx++)
		bytes -= bv[iter->bi_idx].bv_len;
	iter->bi_bvec_done = bytes;
	return true;
}

/* Must not cross the entry's end. */
static inline void bvec_iter_advance_single(const struct bio_vec *bv, struct bvec_iter *iter, unsigned int bytes)
{
	iter->bi_size -= bytes;
	iter->bi_bvec_done += bytes;
	if (iter->bi_bvec_done == bv[iter->bi_idx].bv_len) {
		iter->bi_bvec_done = 0;
		iter->bi_idx++;
	}
}

#define BVEC_ITER_ALL_INIT { .bi_size = UINT_MAX }
#define for_each_bvec(bvl, bio_vec, iter, start) \
	for ((iter) = (start); (iter).bi_size && ((bvl) = bvec_iter_bvec(bio_vec, iter), 1); \
	     bvec_iter_advance_single(bio_vec, &(iter), (bvl).bv_len))

static inline struct bio_vec *bvec_init_iter_all(struct bvec_iter_all *iter)
{
	iter->idx = 0;
	iter->done = 0;
	return &iter->bv;
}

/* The next page of a bio_vec into iter->bv. */
static inline void bvec_advance(const struct bio_vec *bvec, struct bvec_iter_all *iter)
{
	unsigned int at = bvec->bv_offset + iter->done;

	if (iter->done)
		bvec_set_page(&iter->bv, nth_page(iter->bv.bv_page, 1), 0, 0);
	else
		bvec_set_page(&iter->bv, nth_page(bvec->bv_page, at >> PAGE_SHIFT), 0, offset_in_page(at));
	iter->bv.bv_len = min_t(unsigned int, PAGE_SIZE - iter->bv.bv_offset, bvec->bv_len - iter->done);
	iter->done += iter->bv.bv_len;
	if (iter->done == bvec->bv_len) {
		iter->idx++;
		iter->done = 0;
	}
}

#endif
