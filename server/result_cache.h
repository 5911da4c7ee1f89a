#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <vector>

#include "server/item_key.h"
#include "server/job.h"
#include "server/metrics.h"
#include "server/mutex.h"

namespace vitower {

class CacheClaim;

// Answers by what they were made of, the least recently asked for thrown out first, and who is making which: an item
// that is being made is not made a second time, its job waits for the first. Thread-safe; never blocks. Must outlive
// its claims. Not for answers that depend on more than the item and the model.
class ResultCache final {
 public:
  // Holds at most `capacity_bytes`, what it needs itself for an entry included. `on_orphans` takes jobs whose first
  // ended without an answer: on the thread that ended it, without a lock.
  ResultCache(int64_t capacity_bytes, Metrics& metrics, std::function<void(Jobs)> on_orphans);

  // The answer, where it is here. Else the job is taken where another is making it, and is the first to make it, with a
  // claim to that, where none is.
  std::shared_ptr<const v1::Result> Find(const ItemKey& key, std::unique_ptr<Job>& job);

 private:
  friend class CacheClaim;
  struct Entry {
    std::shared_ptr<const v1::Result> result;
    int64_t bytes = 0;
    std::list<ItemKey>::iterator use;
  };

  Jobs Keep(const ItemKey& key, std::shared_ptr<const v1::Result> result);
  void GiveUp(const ItemKey& key);
  Jobs TakeWaiting(const ItemKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EvictOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int64_t capacity_bytes_;
  Metrics& metrics_;
  const std::function<void(Jobs)> on_orphans_;

  Mutex mu_;
  std::map<ItemKey, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::list<ItemKey> uses_ ABSL_GUARDED_BY(mu_);  // the oldest first
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<ItemKey, Jobs> in_flight_ ABSL_GUARDED_BY(mu_);  // those that wait for the first
};

// The right and duty to make an answer. Given up by its destructor, so that the jobs that wait are not lost however the
// first ends.
class CacheClaim final {
 public:
  CacheClaim(ResultCache& cache, const ItemKey& key) : cache_(&cache), key_(key) {}
  ~CacheClaim() {
    if (cache_ != nullptr) cache_->GiveUp(key_);
  }
  CacheClaim(const CacheClaim&) = delete;
  CacheClaim& operator=(const CacheClaim&) = delete;

  // Keeps the answer and returns the jobs that waited for it. Once.
  Jobs Keep(std::shared_ptr<const v1::Result> result) {
    return std::exchange(cache_, nullptr)->Keep(key_, std::move(result));
  }

 private:
  ResultCache* cache_;
  const ItemKey key_;
};

}  // namespace vitower
