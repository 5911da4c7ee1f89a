#include "server/result_cache.h"

#include <iterator>
#include <utility>

namespace vitower {
namespace {

constexpr int64_t kEntryBytes = 512;  // of the maps, the list, the control block

int64_t CostOf(const v1::Result& result) { return static_cast<int64_t>(result.SpaceUsedLong()) + kEntryBytes; }

}  // namespace

ResultCache::ResultCache(int64_t capacity_bytes, Metrics& metrics, std::function<void(Jobs)> on_orphans)
    : capacity_bytes_(capacity_bytes), metrics_(metrics), on_orphans_(std::move(on_orphans)) {}

std::shared_ptr<const v1::Result> ResultCache::Find(const ItemKey& key, std::unique_ptr<Job>& job) {
  MutexLock lock(mu_);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    uses_.splice(uses_.end(), uses_, found->second.use);
    metrics_.CountCacheHit();
    return found->second.result;
  }
  if (const auto making = in_flight_.find(key); making != in_flight_.end()) {
    making->second.push_back(std::move(job));
    metrics_.CountCacheHit();
    return nullptr;
  }
  in_flight_[key];
  job->cache_claim = std::make_unique<CacheClaim>(*this, key);
  metrics_.CountCacheMiss();
  return nullptr;
}

Jobs ResultCache::Keep(const ItemKey& key, std::shared_ptr<const v1::Result> result) {
  const int64_t bytes = CostOf(*result);
  MutexLock lock(mu_);
  if (bytes <= capacity_bytes_) {
    while (bytes_ + bytes > capacity_bytes_) EvictOldest();
    bytes_ += bytes;
    entries_.emplace(key, Entry{std::move(result), bytes, uses_.insert(uses_.end(), key)});
    metrics_.SetCacheBytes(bytes_);
  }
  return TakeWaiting(key);
}

void ResultCache::GiveUp(const ItemKey& key) {
  Jobs orphans;
  {
    MutexLock lock(mu_);
    orphans = stopped_ ? TakeWaiting(key) : TakeNextFirst(key);
  }
  if (!orphans.empty()) on_orphans_(std::move(orphans));
}

void ResultCache::Stop() {
  MutexLock lock(mu_);
  stopped_ = true;
}

Jobs ResultCache::TakeWaiting(const ItemKey& key) {
  const auto found = in_flight_.find(key);
  Jobs waiting(std::make_move_iterator(found->second.begin()), std::make_move_iterator(found->second.end()));
  in_flight_.erase(found);
  return waiting;
}

Jobs ResultCache::TakeNextFirst(const ItemKey& key) {
  std::deque<std::unique_ptr<Job>>& waiting = in_flight_.find(key)->second;
  if (waiting.empty()) return TakeWaiting(key);
  Jobs first;
  first.push_back(std::move(waiting.front()));
  waiting.pop_front();
  first.front()->cache_claim = std::make_unique<CacheClaim>(*this, key);
  return first;
}

void ResultCache::EvictOldest() {
  const auto oldest = entries_.find(uses_.front());
  bytes_ -= oldest->second.bytes;
  entries_.erase(oldest);
  uses_.pop_front();
  metrics_.CountCacheEviction();
}

}  // namespace vitower
