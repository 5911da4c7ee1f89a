#include "server/malloc_arenas.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/cpu_quota.h"

namespace vitower {
namespace {

// As malloc_info tells them: an element each.
int ArenaCount() {
  char* text = nullptr;
  size_t size = 0;
  FILE* file = open_memstream(&text, &size);
  malloc_info(0, file);
  std::fclose(file);
  const std::string info(text, size);
  std::free(text);
  int count = 0;
  for (size_t at = info.find("<heap "); at != std::string::npos; at = info.find("<heap ", at + 1)) ++count;
  return count;
}

// How many there are when many threads have had memory at once.
int ArenasOfManyThreads() {
  const int threads = 4 * UsableCores();
  std::barrier all_have_memory(threads);
  {
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&all_have_memory] {
        const auto bytes = std::make_unique<std::string>(10'000, 'x');
        all_have_memory.arrive_and_wait();
      });
    }
  }
  return ArenaCount();
}

// In a process of its own: arenas stay.
TEST(MallocArenasDeathTest, AreAsManyAsCoresHoweverManyThreadsThereAre) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto limited = [] {
    LimitMallocArenas();
    const int arenas = ArenasOfManyThreads();
    std::fprintf(stderr, "%d arenas", arenas);
    std::_Exit(arenas >= 1 && arenas <= UsableCores() ? 0 : 1);
  };
  EXPECT_EXIT(limited(), testing::ExitedWithCode(0), "arenas");
}

}  // namespace
}  // namespace vitower
