#include "server/request_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitower {
namespace {

using testing::MatchesRegex;

TEST(RequestId, KeepsASaneOne) { EXPECT_EQ(RequestId("Trace-1.2:a/b+c=d@e_f"), "Trace-1.2:a/b+c=d@e_f"); }

TEST(RequestId, ReplacesWhatIsUnfitForALog) {
  for (const std::string& unfit : {std::string(), std::string("a b"), std::string("a\nb"), std::string("\xC3\xA9"),
                                   std::string("\"x\""), std::string(129, 'a')}) {
    EXPECT_THAT(RequestId(unfit), MatchesRegex("[0-9a-f]{16}")) << unfit;
  }
  EXPECT_EQ(RequestId(std::string(128, 'a')).size(), 128U);
}

TEST(RequestId, NewOnesDiffer) { EXPECT_NE(RequestId({}), RequestId({})); }

}  // namespace
}  // namespace vitower
