#include "server/auth_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitower {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kText[] =
    "# who may call\n"
    "\n"
    "ci: 0123456789abcdef\r\n"
    "alice:ABC-._~+/=0123456789\n"
    "ci:fedcba9876543210";

TEST(AuthTokens, KnowsEveryTokenOfTheFileAndNoOther) {
  const auto tokens = AuthTokens::Parse(kText);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->names(), "ci, alice");
  for (const char* token : {"0123456789abcdef", "ABC-._~+/=0123456789", "fedcba9876543210"}) {
    EXPECT_TRUE(tokens->Knows(token)) << token;
  }
  for (const char* token :
       {"", "ci", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF", "ci:0123456789abcdef"}) {
    EXPECT_FALSE(tokens->Knows(token)) << token;
  }
}

TEST(AuthTokens, MayBeNone) {
  for (const char* text : {"", "# nothing else"}) {
    const auto tokens = AuthTokens::Parse(text);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokens->names(), "");
    EXPECT_FALSE(tokens->Knows(""));
  }
}

TEST(AuthTokens, NamesTheLineOfWhatItRefusesAndNeverQuotesIt) {
  const std::pair<const char*, const char*> bad[] = {
      {"s3cret0123456789", "line 1: it is not NAME:TOKEN"},
      {"\na:s3cret", "line 2: the token has 6 characters; it must have at least 16"},
      {"a:s3cret 0123456789", "line 1: the token must be of"},
      {":s3cret0123456789", "line 1: the name"},
      {"a b:s3cret0123456789", "line 1: the name"},
      {"a:s3cret0123456789\nb:s3cret0123456789", "line 2: the token is there twice"}};
  for (const auto& [text, why] : bad) {
    const std::string message(AuthTokens::Parse(text).status().message());
    EXPECT_THAT(message, HasSubstr(why)) << text;
    EXPECT_THAT(message, Not(HasSubstr("s3cret"))) << text;
  }
}

}  // namespace
}  // namespace vitower
