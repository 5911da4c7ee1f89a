#pragma once

#include <cstdint>
#include <deque>
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
  // Holds at most `capacity_bytes`, what it needs itself for an entry included. Where a first ends without an answer,
  // `on_orphans` takes the one that has waited longest, which is the first now and has the claim; once stopped it takes
  // all that wait, without one. On the thread that ended the first, without a lock.
  ResultCache(int64_t capacity_bytes, Metrics& metrics, std::function<void(Jobs)> on_orphans);

  // The answer, where it is here. Else the job is taken where another is making it, and is the first to make it, with a
  // claim to that, where none is.
  std::shared_ptr<const v1::Result> Find(const ItemKey& key, std::unique_ptr<Job>& job);

  // Nobody is to become a first any more. Idempotent.
  void Stop();

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
  Jobs TakeNextFirst(const ItemKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EvictOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int64_t capacity_bytes_;
  Metrics& metrics_;
  const std::function<void(Jobs)> on_orphans_;

  Mutex mu_;
  std::map<ItemKey, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::list<ItemKey> uses_ ABSL_GUARDED_BY(mu_);  // the oldest first
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<ItemKey, std::deque<std::unique_ptr<Job>>> in_flight_ ABSL_GUARDED_BY(mu_);  // those that wait for the first
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

// The right and duty to make an answer. Given up by its destructor, so that the jobs that wait are not lost however the
// first ends: the next of them has it then.
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
