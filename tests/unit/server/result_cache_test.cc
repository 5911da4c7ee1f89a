#include "server/result_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using testing::HasSubstr;

class ResultCacheTest : public testing::Test {
 protected:
  static ItemKey Key(uint8_t number) { return ItemKey{number}; }
  static std::shared_ptr<const v1::Result> Value(size_t bytes) {
    auto result = std::make_shared<v1::Result>();
    result->add_outputs()->set_data(std::string(bytes, 'v'));
    return result;
  }
  std::unique_ptr<Job> NewJob() { return MakeJob(call_, next_++, 8); }
  static void End(std::unique_ptr<Job> job) { Fail(std::move(job), absl::OkStatus(), TimePoint()); }

  void Keep(uint8_t number, size_t bytes) {
    std::unique_ptr<Job> job = NewJob();
    ASSERT_EQ(cache_.Find(Key(number), job), nullptr);
    EXPECT_TRUE(job->cache_claim->Keep(Value(bytes)).empty());
    End(std::move(job));
  }
  bool Has(uint8_t number) {
    std::unique_ptr<Job> job = NewJob();
    const bool has = cache_.Find(Key(number), job) != nullptr;
    End(std::move(job));
    return has;
  }
  void Wait(uint8_t number, int count) {
    for (int i = 0; i < count; ++i) {
      std::unique_ptr<Job> job = NewJob();
      EXPECT_EQ(cache_.Find(Key(number), job), nullptr);
      EXPECT_EQ(job, nullptr);
    }
  }
  void ExpectMetric(const std::string& line) { EXPECT_THAT(metrics_.Text(), HasSubstr(line + "\n")); }

  TestCall call_{1000};
  size_t next_ = 0;
  Metrics metrics_;
  std::vector<std::unique_ptr<Job>> orphans_;
  ResultCache cache_{10'000, metrics_, [this](Jobs jobs) { orphans_ = std::move(jobs); }};
};

TEST_F(ResultCacheTest, WhatWasKeptIsFoundAndCounted) {
  Keep(1, 100);
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
  ExpectMetric("vitower_cache_hits_total 1");
  ExpectMetric("vitower_cache_misses_total 2");
}

TEST_F(ResultCacheTest, TheSecondOfItsKindWaitsForTheFirst) {
  std::unique_ptr<Job> first = NewJob();
  std::unique_ptr<Job> second = NewJob();
  EXPECT_EQ(cache_.Find(Key(1), first), nullptr);
  EXPECT_EQ(cache_.Find(Key(1), second), nullptr);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(second, nullptr);
  std::vector<std::unique_ptr<Job>> waited = first->cache_claim->Keep(Value(10));
  ASSERT_EQ(waited.size(), 1U);
  End(std::move(waited[0]));
  End(std::move(first));
  EXPECT_TRUE(orphans_.empty());
}

TEST_F(ResultCacheTest, WhereTheFirstFailsTheNextHasTheClaimAndTheOthersWaitForIt) {
  std::unique_ptr<Job> first = NewJob();
  EXPECT_EQ(cache_.Find(Key(1), first), nullptr);
  Wait(1, 3);
  End(std::move(first));
  ASSERT_EQ(orphans_.size(), 1U);
  End(std::move(orphans_[0]));
  ASSERT_EQ(orphans_.size(), 1U);
  ASSERT_NE(orphans_[0]->cache_claim, nullptr);
  Jobs waited = orphans_[0]->cache_claim->Keep(Value(10));
  ASSERT_EQ(waited.size(), 1U);
  End(std::move(waited[0]));
  End(std::move(orphans_[0]));
  ExpectMetric("vitower_cache_hits_total 3");
  ExpectMetric("vitower_cache_misses_total 1");
}

TEST_F(ResultCacheTest, OnceStoppedAllThatWaitAreHandedBackTogether) {
  std::unique_ptr<Job> first = NewJob();
  EXPECT_EQ(cache_.Find(Key(1), first), nullptr);
  Wait(1, 3);
  cache_.Stop();
  End(std::move(first));
  ASSERT_EQ(orphans_.size(), 3U);
  for (std::unique_ptr<Job>& orphan : orphans_) {
    EXPECT_EQ(orphan->cache_claim, nullptr);
    End(std::move(orphan));
  }
}

TEST_F(ResultCacheTest, TheLeastRecentlyAskedForIsThrownOutFirst) {
  Keep(1, 3000);
  Keep(2, 3000);
  EXPECT_TRUE(Has(1));
  Keep(3, 3000);
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
  EXPECT_TRUE(Has(3));
  ExpectMetric("vitower_cache_evictions_total 1");
}

TEST_F(ResultCacheTest, WhatAnEntryCostsBesideItsValueCountsToo) {
  for (uint8_t i = 0; i < 100; ++i) Keep(i, 1);
  EXPECT_FALSE(Has(0));
  EXPECT_TRUE(Has(99));
}

TEST_F(ResultCacheTest, AnAnswerLargerThanTheCacheIsNotKept) {
  Keep(1, 100);
  Keep(2, 20'000);
  EXPECT_TRUE(Has(1));
  EXPECT_FALSE(Has(2));
}

}  // namespace
}  // namespace vitower
