"""What `streamlit run` runs, anew for every look at a page."""

from assets_pkg.explorer.site import main

main()
